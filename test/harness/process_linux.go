// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// dieWithParent has the system end the child when the test binary dies without
// running its clean-up, as it does when go test runs out of time.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// PeakMemory returns the most memory that the process has had resident so far,
// in bytes.
func (p *Process) PeakMemory(tb testing.TB) int {
	tb.Helper()
	return p.status(tb, "VmHWM:")
}

// OwnMemory returns the memory that the process has resident now, in bytes,
// without the pages of files, which the system takes back when it runs short.
func (p *Process) OwnMemory(tb testing.TB) int {
	tb.Helper()
	return p.status(tb, "RssAnon:")
}

func (p *Process) status(tb testing.TB, field string) int {
	tb.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				tb.Fatal(err)
			}
			return kib << 10
		}
	}
	tb.Fatalf("no %s in the status of the process", field)
	return 0
}

// Listening returns the addresses, host:port, on which the process accepts TCP
// connections or takes UDP datagrams.
func (p *Process) Listening(tb testing.TB) []string {
	tb.Helper()
	sockets := map[string]bool{}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.PID()))
	if err != nil {
		tb.Fatal(err)
	}
	for _, fd := range fds {
		// A descriptor may have gone since.
		if target, err := os.Readlink(fd); err == nil {
			sockets[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
		}
	}
	var addresses []string
	for table, state := range map[string]string{"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"} {
		file, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", p.PID(), table))
		if err != nil {
			tb.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			// sl local_address rem_address st queues timer retransmits uid timeout inode
			f := strings.Fields(lines.Text())
			if len(f) > 9 && f[3] == state && sockets[f[9]] {
				addresses = append(addresses, procAddress(tb, f[1]))
			}
		}
		if err := errors.Join(lines.Err(), file.Close()); err != nil {
			tb.Fatal(err)
		}
	}
	slices.Sort(addresses)
	return addresses
}

// procAddress reads an address as /proc/net writes it: words in the byte order
// of the machine, taken to be little-endian, then the port.
func procAddress(tb testing.TB, text string) string {
	tb.Helper()
	host, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	if err != nil {
		tb.Fatal(err)
	}
	for word := range slices.Chunk(b, 4) {
		slices.Reverse(word)
	}
	ip, _ := netip.AddrFromSlice(b)
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		tb.Fatal(err)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)).String()
}
