// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import "errors"

// maxNesting bounds how deep a value may lie in arrays and maps. Decoding, and all that
// looks at a value later, goes down as deep; a message of 4 MiB can nest half a million
// times, which takes more stack than Go gives a goroutine before it ends the process.
const maxNesting = 64

var (
	errNesting = errors.New("a value is nested more than 64 deep")
	errJSON    = errors.New("it is not JSON")
)

// message says what one element of a repeated field takes in memory when it is decoded,
// and which of its own fields are messages. What a field's text takes is the number of
// its bytes, and is added for the request as a whole.
type message struct {
	size    int // bytes, with its place in a slice that has grown by doubling
	perByte int // bytes for each byte of it: numbers that are packed
	value   bool
	plain   int // bytes, when it is an attribute as most are; 0 for other messages
	fields  [16]*message
	renamed *message // field 1000: what a collector before 0.60 sent in its place
}

// at returns what the field is, nil when it is no message.
func (m *message) at(field int32) *message {
	if field >= 0 && int(field) < len(m.fields) {
		return m.fields[field]
	}
	if field == 1000 {
		return m.renamed
	}
	return nil
}

// The messages of opentelemetry-proto 1.x. Sizes are those of the Go structs of pdata on
// a 64-bit machine, rounded up to what the allocator gives; TestDecodedSize holds them
// against what decoding takes.
var traces, metrics, logs = func() (traces, metrics, logs *message) {
	value := &message{size: 40, value: true}
	attribute := &message{size: 72, plain: 72 + value.size, fields: [16]*message{2: value}}
	element := &message{size: 72, value: true} // of a list, in whose slice it lies
	value.fields[5] = &message{size: 40, fields: [16]*message{1: element}}
	value.fields[6] = &message{size: 40, fields: [16]*message{1: attribute}}
	element.fields = value.fields

	text := &message{size: 48}
	entity := &message{size: 128, fields: [16]*message{3: text, 4: text}}
	resource := &message{size: 0, fields: [16]*message{1: attribute, 3: entity}}
	scope := &message{size: 0, fields: [16]*message{3: attribute}}

	// request is the message of a signal whose items are item.
	request := func(item *message) *message {
		ofScope := &message{size: 160, fields: [16]*message{1: scope, 2: item}}
		ofResource := &message{size: 192, fields: [16]*message{1: resource, 2: ofScope}, renamed: ofScope}
		return &message{fields: [16]*message{1: ofResource}}
	}

	event := &message{size: 112, fields: [16]*message{3: attribute}}
	link := &message{size: 128, fields: [16]*message{4: attribute}}
	span := &message{size: 256, fields: [16]*message{9: attribute, 11: event, 13: link}}

	exemplar := &message{size: 192, fields: [16]*message{7: attribute}}
	number := &message{size: 144, fields: [16]*message{5: exemplar, 7: attribute}}
	histogram := &message{size: 240, fields: [16]*message{8: exemplar, 9: attribute}}
	buckets := &message{fields: [16]*message{2: {perByte: 16}}}
	exponential := &message{size: 320, fields: [16]*message{1: attribute, 8: buckets, 9: buckets, 11: exemplar}}
	summary := &message{size: 144, fields: [16]*message{6: {size: 48}, 7: attribute}}
	points := func(point *message) *message { return &message{size: 64, fields: [16]*message{1: point}} }
	metric := &message{size: 144, fields: [16]*message{
		5: points(number), 7: points(number), 9: points(histogram), 10: points(exponential), 11: points(summary),
		12: attribute,
	}}

	record := &message{size: 240, fields: [16]*message{5: value, 6: attribute}}

	return request(span), request(metric), request(record)
}()

// The messages of Jaeger's and Zipkin's protobuf, with what their translation takes.
var jaeger, zipkin = func() (jaeger, zipkin *message) {
	tag := &message{size: 288}
	log := &message{size: 224, fields: [16]*message{2: tag}}
	process := &message{size: 96, fields: [16]*message{2: tag}}
	span := &message{size: 544, fields: [16]*message{4: {size: 192}, 8: tag, 9: log, 10: process, 12: {size: 48}}}
	batch := &message{fields: [16]*message{1: span, 2: process}}
	jaeger = &message{fields: [16]*message{1: batch}}

	endpoint := &message{size: 160}
	zspan := &message{size: 960, fields: [16]*message{8: endpoint, 9: endpoint, 10: {size: 256}, 11: {size: 320}}}
	zipkin = &message{fields: [16]*message{1: zspan}}
	return jaeger, zipkin
}()

// decodedSize returns about how many bytes data, which is a message m, takes when it is
// decoded; not less than it does. What is malformed is left to the decoder: it stops
// where this does.
func (m *message) decodedSize(data []byte) (int, error) {
	size, err := m.walk(data, 0)
	return len(data) + size, err
}

func (m *message) walk(data []byte, nesting int) (int, error) {
	size := 0
	for len(data) > 0 {
		tag, n := varint(data)
		if n == 0 {
			return size, nil
		}
		data = data[n:]
		switch tag & 7 {
		case 0: // varint
			if _, n = varint(data); n == 0 {
				return size, nil
			}
			if field := m.at(int32(tag >> 3)); field != nil { // a number that is not packed
				size += field.perByte
			}
		case 1: // 64 bits
			n = 8
		case 5: // 32 bits
			n = 4
		case 2: // of some length
			length, header := varint(data)
			if header == 0 || length > uint64(len(data)-header) {
				return size, nil
			}
			n = header + int(length)
			field := m.at(int32(tag >> 3)) // cut to 32 bits, as the decoder does
			switch {
			case field == nil:
			case field.plain != 0 && isPlain(data[header:n]):
				size += field.plain
			default:
				inner, err := field.sizeOf(data[header:n], nesting)
				if size += inner; err != nil {
					return size, err
				}
			}
		default: // a group's begin or end: its fields are counted, which the decoder skips
			n = 0
		}
		if n > len(data) {
			return size, nil
		}
		data = data[n:]
	}
	return size, nil
}

// isPlain tells whether an attribute is written as all SDKs write those that are neither
// list nor map: a key and a text, number or boolean, each once and no longer than 127
// bytes. Most of what there is to size are these.
func isPlain(data []byte) bool {
	if len(data) < 2 || data[0] != 1<<3|2 || data[1] >= 0x80 {
		return false
	}
	key := 2 + int(data[1])
	if len(data) < key+4 || data[key] != 2<<3|2 || int(data[key+1]) != len(data)-key-2 {
		return false
	}
	value := data[key+2:]
	switch value[0] {
	case 1<<3 | 2: // text
		return int(value[1]) == len(value)-2
	case 2 << 3, 3 << 3: // boolean, integer
		_, n := varint(value[1:])
		return n == len(value)-1
	case 4<<3 | 1: // double
		return len(value) == 9
	}
	return false
}

// varint returns the number at the start of data and how many bytes it has, 0 when it is
// malformed. It is as lenient as the decoder, so that nothing is hidden behind a number
// that only one of them takes.
func varint(data []byte) (value uint64, n int) {
	if len(data) > 0 && data[0] < 0x80 {
		return uint64(data[0]), 1
	}
	for n < len(data) && n < 10 {
		b := data[n]
		value |= uint64(b&0x7f) << (7 * n)
		if n++; b < 0x80 {
			return value, n
		}
	}
	return 0, 0
}

// sizeOf returns what an element of a repeated field takes, which m is.
func (m *message) sizeOf(data []byte, nesting int) (int, error) {
	if m.value {
		if nesting++; nesting > maxNesting {
			return 0, errNesting
		}
	}
	inner, err := m.walk(data, nesting)
	return m.size + m.perByte*len(data) + inner, err
}

// What an object and a list's element in JSON may take when decoded: the largest message
// there is, and an entry of a map.
const (
	jsonObject  = 320
	jsonElement = 64
)

// decodedSizeOfJSON is decodedSize for OTLP in JSON, and for Zipkin's.
//
// pdata's decoder takes more than JSON: a comma for a brace or bracket, a closing brace
// for an object. What is none is refused, since nothing here could count it.
func decodedSizeOfJSON(data []byte) (int, error) {
	size, depth := len(data), 0
	var open [jsonNesting]byte // the end that each brace and bracket needs
	last := byte(',')          // what was before, white space left out
	text := false
	for i := 0; i < len(data); i++ {
		c := data[i]
		if text {
			if c == '\\' {
				i++ // what follows ends no text
			}
			text = c != '"'
			continue
		}
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '"':
			text = true
		case '{', '[':
			if depth == jsonNesting {
				return size, errNesting
			}
			open[depth] = c + 2 // its end, in ASCII
			depth++
			if c == '{' {
				size += jsonObject
			}
		case '}', ']':
			if depth == 0 || open[depth-1] != c || last == ',' || last == ':' { //nolint:gosec // depth is at most jsonNesting
				return size, errJSON
			}
			depth--
		case ',':
			if depth == 0 || last == ',' || last == ':' || last == '{' || last == '[' {
				return size, errJSON
			}
			size += jsonElement
		case 'n': // null, which stands for an object
			size += jsonObject
		}
		last = c
	}
	return size, nil
}

// jsonNesting is how many braces and brackets maxNesting values have around them: a
// value in a map is {"kvlistValue":{"values":[{"value":, and about a dozen hold the
// attribute that the outermost is.
const jsonNesting = 4*maxNesting + 16
