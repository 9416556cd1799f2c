package kafka

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newTestServer serves on a loopback port until the test ends. Without a
// broker it can serve what needs none.
func newTestServer(t testing.TB, cfg Config) (*Server, string) {
	t.Helper()
	if cfg.Settings.MaxRequestBytes == 0 {
		cfg.Settings = DefaultSettings()
	}
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	s := NewServer(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-done; err != ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

// dial opens a connection that ends with the test.
func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// frameOf encodes a request with its header and length.
func frameOf(req kmsg.Request, correlation int32) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, correlation)
}

func send(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// receive reads one response frame into resp.
func receive(t testing.TB, c net.Conn, resp kmsg.Response) (correlation int32) {
	t.Helper()
	var prefix [4]byte
	if _, err := io.ReadFull(c, prefix[:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(prefix[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	correlation, b = int32(binary.BigEndian.Uint32(b)), b[4:]
	if resp.IsFlexible() && resp.Key() != keyAPIVersions {
		b = b[1:]
	}
	if err := resp.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	return correlation
}

func apiVersionsRequest(version int16) *kmsg.ApiVersionsRequest {
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = version, "test", "1.0"
	return req
}

func TestApiVersionsAdvertisesTheTable(t *testing.T) {
	_, addr := newTestServer(t, Config{})
	c := dial(t, addr)
	for version := range int16(6) {
		req := apiVersionsRequest(version)
		send(t, c, frameOf(req, 100+int32(version)))
		resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
		if got := receive(t, c, resp); got != 100+int32(version) {
			t.Fatalf("correlation id %d", got)
		}
		if resp.ErrorCode != 0 || len(resp.ApiKeys) != len(apis()) {
			t.Fatalf("version %d: error %d, %d keys", version, resp.ErrorCode, len(resp.ApiKeys))
		}
	}
}

func TestUnknownApiVersionsVersionIsAnsweredInVersion0(t *testing.T) {
	_, addr := newTestServer(t, Config{})
	c := dial(t, addr)
	send(t, c, []byte{0, 0, 0, 8, 0, 18, 0, 99, 0, 0, 0, 5})
	resp := kmsg.NewPtrApiVersionsResponse()
	if receive(t, c, resp) != 5 || resp.ErrorCode != codeUnsupportedVersion ||
		len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 || resp.ApiKeys[0].MaxVersion != 5 {
		t.Fatalf("%+v", resp)
	}
}

func TestMalformedRequestsCloseTheConnection(t *testing.T) {
	_, addr := newTestServer(t, Config{})
	for name, b := range map[string][]byte{
		"negative length":            {0xff, 0xff, 0xff, 0xff},
		"length of 2 GB":             {0x7f, 0xff, 0xff, 0xff},
		"empty request":              {0, 0, 0, 0},
		"half a header":              {0, 0, 0, 4, 0, 18, 0, 0},
		"unknown key":                {0, 0, 0, 10, 0x7f, 0, 0, 0, 0, 0, 0, 1, 0, 0},
		"negative key":               {0, 0, 0, 10, 0xff, 0xff, 0, 0, 0, 0, 0, 1, 0, 0},
		"inter-broker key":           {0, 0, 0, 10, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0},
		"unknown version":            {0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0, 0},
		"client id beyond the end":   {0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0, 5},
		"client id of length -2":     {0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xfe},
		"4 billion tags in a header": {0, 0, 0, 15, 0, 18, 0, 3, 0, 0, 0, 1, 0, 0, 255, 255, 255, 255, 15},
		"HTTP":                       []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, addr)
			send(t, c, b)
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Fatalf("read %d bytes, error %v; want the connection closed", n, err)
			}
		})
	}
}

func TestRequestInPiecesIsServed(t *testing.T) {
	_, addr := newTestServer(t, Config{})
	c := dial(t, addr)
	for _, b := range frameOf(apiVersionsRequest(3), 9) {
		send(t, c, []byte{b})
	}
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = 3
	if receive(t, c, resp) != 9 {
		t.Fatal("wrong correlation id")
	}
}

func TestConnectionLimit(t *testing.T) {
	cfg := Config{Settings: DefaultSettings()}
	cfg.MaxConnections = 1
	_, addr := newTestServer(t, cfg)
	c := dial(t, addr)
	send(t, c, frameOf(apiVersionsRequest(0), 1))
	receive(t, c, kmsg.NewPtrApiVersionsResponse())
	if n, err := dial(t, addr).Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatalf("second connection: read %d, %v", n, err)
	}
}
