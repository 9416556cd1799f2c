package kafka

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

// largeRequest is a request that is longer than a first piece.
func largeRequest() *kmsg.ApiVersionsRequest {
	req := apiVersionsRequest(3)
	req.ClientSoftwareName = strings.Repeat("x", 4*firstPiece)
	return req
}

// TestIntakeIsShared: clients that begin large requests and do not finish them
// use up the memory for such. They are cut off when others need it, and nobody else is.
func TestIntakeIsShared(t *testing.T) {
	const limit = 4 << 20
	intake := broker.NewIntake(limit, time.Second)
	_, addr := newTestServer(t, Config{Intake: intake})
	for range 6 {
		c := dial(t, addr)
		go func(c net.Conn) { _, _ = c.Write(append([]byte{3, 0, 0, 0}, make([]byte, 1<<20)...)) }(c)
	}
	await(t, "the memory is used up", func() bool { return intake.Used() > limit/2 })
	good := dial(t, addr)
	for n := range int32(3) {
		req := largeRequest()
		send(t, good, frameOf(req, n))
		resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
		if receive(t, good, resp) != n {
			t.Fatal("wrong correlation id")
		}
	}
}

// TestAnsweredRequestsGiveBack: what a request held is given back with its answer, or with its connection.
func TestAnsweredRequestsGiveBack(t *testing.T) {
	intake := broker.NewIntake(1<<20, 0)
	_, addr := newTestServer(t, Config{Intake: intake})
	c := dial(t, addr)
	for n := range int32(6) {
		send(t, c, frameOf(largeRequest(), n))
	}
	for n := range int32(6) {
		if receive(t, c, largeRequest().ResponseKind()) != n {
			t.Fatal("wrong correlation id")
		}
	}
	await(t, "all is given back", func() bool { return intake.Used() == 0 })
	b := frameOf(largeRequest(), 6)
	send(t, c, b[:len(b)-1])
	await(t, "it is counted", func() bool { return intake.Used() > 0 })
	c.Close()
	await(t, "all is given back", func() bool { return intake.Used() == 0 })
}

// TestPipelineWeight: requests that are dear to hold do not wait in any number.
func TestPipelineWeight(t *testing.T) {
	s := NewServer(Config{Settings: DefaultSettings()})
	a, b := net.Pipe()
	defer b.Close()
	c := newConn(s, a)
	defer c.close()
	request := func(key int16, size int) *request { return &request{conn: c, key: key, size: size} }
	n := 0
	for c.hasRoom(request(3, 100)) {
		if !c.push(request(3, 100)) {
			t.Fatal("not taken")
		}
		n++
	}
	if n == 0 || n >= maxPipeline {
		t.Fatalf("%d requests with large answers wait at the same time", n)
	}
	if c.hasRoom(request(11, 1<<20)) || !c.hasRoom(request(keyProduce, 50<<20)) {
		t.Fatal("room for a large one that has to be decoded, or none for records, which are counted elsewhere")
	}
}
