// SPDX-License-Identifier: Apache-2.0

package shop;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.opentelemetry.api.GlobalOpenTelemetry;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.metrics.LongCounter;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.StatusCode;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.logging.Logger;

/**
 * The shop, both halves of it: GET /order?order_id=17&amp;item=tea asks the service at DATA_URL for
 * the price, and GET /data?item=tea says what an item costs, asking the service at STOCK_URL first
 * when that is set.
 *
 * <p>It knows OpenTelemetry's API and nothing of an SDK, an exporter or an address: those come from
 * -javaagent and OTEL_ variables.
 */
public final class Shop {
  private static final Logger log = Logger.getLogger("shop");
  private static final AttributeKey<String> ITEM = AttributeKey.stringKey("item");
  private static final Map<String, Integer> prices = Map.of("tea", 3, "coffee", 4);

  private final HttpClient client = HttpClient.newHttpClient();
  private final LongCounter orders =
      GlobalOpenTelemetry.getMeter("shop")
          .counterBuilder("shop.orders")
          .setUnit("{order}")
          .setDescription("Orders by item.")
          .build();

  /** The back end does not have the item. */
  static final class NoSuchItem extends Exception {
    NoSuchItem(String item) {
      super(item);
    }
  }

  public static void main(String[] args) throws IOException {
    Shop shop = new Shop();
    int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8080"));
    HttpServer server =
        HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
    server.createContext("/order", shop::order);
    server.createContext("/data", shop::data);
    server.start();
  }

  private void order(HttpExchange exchange) throws IOException {
    Map<String, String> query = query(exchange);
    String orderId = query.get("order_id");
    String item = query.get("item");
    Span span = Span.current();
    span.setAttribute("order_id", orderId);
    orders.add(1, Attributes.of(ITEM, item));
    try {
      String price = askForPrice(item);
      log.warning("order " + orderId + ": " + item);
      respond(exchange, 200, "{\"order_id\":\"" + orderId + "\",\"price\":" + price + "}");
    } catch (NoSuchItem e) {
      span.recordException(e);
      span.setStatus(StatusCode.ERROR, e.getMessage());
      log.severe("no " + item + " for order " + orderId);
      respond(exchange, 500, "{\"error\":\"no such item\"}");
    }
  }

  private String askForPrice(String item) throws IOException, NoSuchItem {
    HttpResponse<String> answer = get(System.getenv("DATA_URL"), item);
    if (answer.statusCode() == 404) {
      throw new NoSuchItem(item);
    }
    // Enough of a JSON parser for {"item":"tea","price":3}.
    return answer.body().replaceAll("(?s).*\"price\"\\s*:\\s*(\\d+).*", "$1");
  }

  private void data(HttpExchange exchange) throws IOException {
    String item = query(exchange).get("item");
    Integer price = prices.get(item);
    if (price == null) {
      respond(exchange, 404, "{\"error\":\"no such item\"}");
      return;
    }
    String stock = System.getenv("STOCK_URL");
    if (stock != null) {
      get(stock, item);
    }
    log.warning("price of " + item);
    respond(exchange, 200, "{\"item\":\"" + item + "\",\"price\":" + price + "}");
  }

  private HttpResponse<String> get(String address, String item) throws IOException {
    URI uri = URI.create(address + "?item=" + URLEncoder.encode(item, StandardCharsets.UTF_8));
    try {
      return client.send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException(e);
    }
  }

  private static Map<String, String> query(HttpExchange exchange) {
    Map<String, String> query = new HashMap<>();
    for (String pair : exchange.getRequestURI().getRawQuery().split("&")) {
      String[] parts = pair.split("=", 2);
      query.put(parts[0], URLDecoder.decode(parts[1], StandardCharsets.UTF_8));
    }
    return query;
  }

  private static void respond(HttpExchange exchange, int status, String json) throws IOException {
    byte[] body = json.getBytes(StandardCharsets.UTF_8);
    exchange.getResponseHeaders().set("Content-Type", "application/json");
    exchange.sendResponseHeaders(status, body.length);
    exchange.getResponseBody().write(body);
    exchange.close();
  }
}
