package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
	"waybill/internal/record"
	"waybill/internal/record/recordtest"
	"waybill/internal/vfs"
)

// want is one partition to fetch.
type want struct {
	topic     *broker.Topic
	partition int32
	offset    int64
	maxBytes  int32
}

func fetchRequest(minBytes, maxBytes int32, wait time.Duration, parts ...want) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes, req.MaxBytes, req.MaxWaitMillis = minBytes, maxBytes, int32(wait.Milliseconds())
	for _, w := range parts {
		topic := kmsg.NewFetchRequestTopic()
		topic.Topic, topic.TopicID = w.topic.Name, w.topic.ID
		part := kmsg.NewFetchRequestTopicPartition()
		part.Partition, part.FetchOffset, part.PartitionMaxBytes = w.partition, w.offset, w.maxBytes
		topic.Partitions = append(topic.Partitions, part)
		req.Topics = append(req.Topics, topic)
	}
	return req
}

// results waits for appends.
type results chan broker.AppendResult

func (c results) Appended(_ int, r broker.AppendResult) { c <- r }

func appendTo(t testing.TB, p *broker.Partition, b record.Batch) {
	t.Helper()
	c := make(results, 1)
	p.Append(bytes.Clone(b), time.Minute, c, 0)
	if r := <-c; r.Err != nil {
		t.Fatal(r.Err)
	}
}

func TestFetchInEveryVersion(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 2)
	appendTo(t, topic.Partitions[0], recordtest.New("a", "b"))
	appendTo(t, topic.Partitions[0], recordtest.New("c"))
	for version := int16(4); version <= 18; version++ {
		resp := ask[*kmsg.FetchResponse](n, fetchRequest(1, 1<<20, 0, want{topic, 0, 1, 1 << 20}, want{topic, 1, 0, 1 << 20}), version)
		if resp.ErrorCode != 0 || resp.SessionID != 0 || len(resp.Topics) != 2 {
			t.Fatalf("version %d: %+v", version, resp)
		}
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.HighWatermark != 3 || p.LastStableOffset != 3 || version >= 5 && p.LogStartOffset != 0 {
			t.Errorf("version %d: %+v", version, p)
		}
		first, rest, err := record.NextBatch(p.RecordBatches)
		if err != nil || first.BaseOffset() != 0 || len(rest) == 0 {
			t.Errorf("version %d: %v", version, err)
		}
		if p = resp.Topics[1].Partitions[0]; p.ErrorCode != 0 || len(p.RecordBatches) != 0 || p.HighWatermark != 0 {
			t.Errorf("version %d, the empty partition: %+v", version, p)
		}
	}
}

func TestFetchLimits(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 2)
	batch := recordtest.New(string(make([]byte, 1000)))
	size := int32(len(batch))
	for range 10 {
		appendTo(t, topic.Partitions[0], batch)
		appendTo(t, topic.Partitions[1], batch)
	}
	for name, c := range map[string]struct {
		total, part int32
		want        [2]int // batches
	}{
		"everything":                           {1 << 20, 1 << 20, [2]int{10, 10}},
		"at least one batch of all":            {0, 1 << 20, [2]int{1, 0}},
		"at least one batch of each":           {1 << 20, 1, [2]int{1, 0}},
		"two and a half per partition":         {1 << 20, size * 5 / 2, [2]int{2, 2}},
		"the total ends in the second":         {size * 12, 1 << 20, [2]int{10, 2}},
		"the total leaves less than one batch": {size*10 + 1, 1 << 20, [2]int{10, 0}},
	} {
		resp := ask[*kmsg.FetchResponse](n, fetchRequest(1, c.total, 0, want{topic, 0, 0, c.part}, want{topic, 1, 0, c.part}), 11)
		for i, want := range c.want {
			if got := len(resp.Topics[i].Partitions[0].RecordBatches); got != want*int(size) {
				t.Errorf("%s: partition %d gave %d bytes, want %d batches of %d", name, i, got, want, size)
			}
		}
	}
}

func TestFetchErrors(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 1)
	appendTo(t, topic.Partitions[0], recordtest.New("v"))
	missing := &broker.Topic{Name: "missing", ID: [16]byte{9}}
	hour := time.Hour // an error is never waited with
	for name, c := range map[string]struct {
		w    want
		want int16
	}{
		"below the start":  {want{topic, 0, -1, 1}, codeOffsetOutOfRange},
		"beyond the end":   {want{topic, 0, 2, 1}, codeOffsetOutOfRange},
		"no such number":   {want{topic, 1, 0, 1}, codeUnknownTopicOrPartition},
		"a negative one":   {want{topic, -1, 0, 1}, codeUnknownTopicOrPartition},
		"no such topic":    {want{missing, 0, 0, 1}, codeUnknownTopicOrPartition},
		"no such topic id": {want{missing, 0, 0, 1}, codeUnknownTopicID},
	} {
		version := int16(12)
		if c.want == codeUnknownTopicID {
			version = 13
		}
		resp := ask[*kmsg.FetchResponse](n, fetchRequest(1, 1<<20, hour, c.w), version)
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != c.want || p.HighWatermark != -1 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	epoch := topic.Partitions[0].Epoch()
	for e, code := range map[int32]int16{epoch: 0, epoch - 1: codeFencedLeaderEpoch, epoch + 1: codeUnknownLeaderEpoch} {
		req := fetchRequest(1, 1<<20, hour, want{topic, 0, 0, 1})
		req.Topics[0].Partitions[0].CurrentLeaderEpoch = e
		if got := ask[*kmsg.FetchResponse](n, req, 12).Topics[0].Partitions[0].ErrorCode; got != code {
			t.Errorf("epoch %d of %d: error %d", e, epoch, got)
		}
	}
	req := fetchRequest(1, 1<<20, hour, want{topic, 0, 0, 1})
	req.SessionID = 5
	if got := ask[*kmsg.FetchResponse](n, req, 12); got.ErrorCode != codeFetchSessionIDNotFound {
		t.Errorf("a session: %+v", got)
	}
}

func TestFetchWaitsForMinBytes(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 1)
	batch := recordtest.New("v")
	appendTo(t, topic.Partitions[0], batch)
	start := time.Now()
	req := fetchRequest(int32(2*len(batch)), 1<<20, 50*time.Millisecond, want{topic, 0, 0, 1 << 20})
	resp := ask[*kmsg.FetchResponse](n, req, 11)
	if got := len(resp.Topics[0].Partitions[0].RecordBatches); got != len(batch) || time.Since(start) < 50*time.Millisecond {
		t.Errorf("%d bytes after %v", got, time.Since(start))
	}
	req.MaxWaitMillis = 20_000
	req.Version = 11
	send(t, n.conn, frameOf(req, 1))
	appendTo(t, topic.Partitions[0], batch)
	resp = kmsg.NewPtrFetchResponse()
	resp.Version = 11
	receive(t, n.conn, resp)
	if got := len(resp.Topics[0].Partitions[0].RecordBatches); got != 2*len(batch) {
		t.Errorf("%d bytes, want both batches", got)
	}
}

func TestSpentFetchBudgetIsWaitedFor(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 1)
	appendTo(t, topic.Partitions[0], recordtest.New("v"))
	all := n.server.fetches.free.Swap(0)
	resp := ask[*kmsg.FetchResponse](n, fetchRequest(1, 1<<20, 0, want{topic, 0, 0, 1 << 20}), 11)
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || len(p.RecordBatches) != 0 || p.HighWatermark != 1 {
		t.Errorf("nothing left: %+v", p)
	}
	n.server.fetches.give(int(all))
	resp = ask[*kmsg.FetchResponse](n, fetchRequest(1, 1<<20, 0, want{topic, 0, 0, 1 << 20}), 11)
	if len(resp.Topics[0].Partitions[0].RecordBatches) == 0 {
		t.Error("still nothing")
	}
	await(t, "all of the budget is given back", func() bool { return n.server.fetches.free.Load() == all })
}

// A peer that takes nothing is cut off, and what it held is free again.
func TestSlowReaderIsCutOff(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 1)
	for range 20 {
		appendTo(t, topic.Partitions[0], recordtest.New(string(make([]byte, 1_000_000))))
	}
	all := n.server.fetches.free.Load()
	n.server.cfg.stall = 50 * time.Millisecond
	req := fetchRequest(1, 50<<20, 0, want{topic, 0, 0, 50 << 20})
	req.Version = 11
	c := dial(t, n.addr)
	var requests []byte
	for i := range int32(5) {
		requests = append(requests, frameOf(req, i)...)
	}
	send(t, c, requests) // at once: before a second write it may be cut off
	sent, next := 0, frameOf(req, 5)
	await(t, "the connection is cut off", func() bool { // as the client hears when it goes on with another request
		_, err := c.Write(next[sent%len(next):][:1])
		sent++
		return err != nil
	})
	await(t, "the connection is closed", func() bool {
		n.server.mu.Lock()
		defer n.server.mu.Unlock()
		return len(n.server.conns) == 1 // the node's own
	})
	await(t, "the budget is given back", func() bool { return n.server.fetches.free.Load() == all })
}

func TestSilentConnectionsAreClosed(t *testing.T) {
	_, addr := newTestServer(t, Config{firstRequest: time.Second, stall: time.Second})
	frame := frameOf(apiVersionsRequest(3), 1)
	t.Run("a byte now and then", func(t *testing.T) {
		c := dial(t, addr)
		start := time.Now()
		for i := 0; ; i++ {
			if _, err := c.Write(frame[i%4 : i%4+1]); err != nil {
				break
			}
			if readTimeout(c, 100*time.Millisecond) { // so that the request would take some seconds
				break
			}
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("closed after %v", d)
		}
	})
	t.Run("half of the second request", func(t *testing.T) {
		c := dial(t, addr)
		send(t, c, frame)
		resp := kmsg.NewPtrApiVersionsResponse()
		resp.Version = 3
		receive(t, c, resp)
		send(t, c, frame[:10])
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
			t.Error(err)
		}
	})
}

// readTimeout reports whether the peer has closed c within d.
func readTimeout(c net.Conn, d time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(d)) // a loopback socket can
	_, err := c.Read(make([]byte, 1))
	var ne net.Error
	return err != nil && !(errors.As(err, &ne) && ne.Timeout())
}

func TestFetchResponseMatchesTheCodec(t *testing.T) {
	s, _ := newTestServer(t, Config{})
	batch := recordtest.New("v")
	for version := int16(4); version <= 18; version++ {
		f := &fetchResponse{s: s, size: 3 * len(batch), topics: []fetchTopic{{name: "t", id: [16]byte{7}, parts: []fetchPart{
			{number: 3, result: broker.ReadResult{HighWatermark: 9, LastStable: 8, LogStart: 7, Batches: [][]byte{batch, append(bytes.Clone(batch), batch...)}, Size: 3 * len(batch)}},
			{number: 4, code: 1, result: broker.ReadResult{HighWatermark: -1, LastStable: -1, LogStart: -1}},
		}}}}
		var out output
		out.begin()
		f.appendTo(&out, version)
		out.end()
		client, server := net.Pipe()
		go func() {
			_, _ = out.writeTo(server, time.Minute)
			server.Close()
		}()
		b, err := io.ReadAll(client)
		if err != nil {
			t.Fatal(err)
		}
		if len(b)-4 != int(b[0])<<24|int(b[1])<<16|int(b[2])<<8|int(b[3]) {
			t.Fatalf("version %d: length %x of %d bytes", version, b[:4], len(b))
		}
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = version
		if err := resp.ReadFrom(b[4:]); err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if again := resp.AppendTo(nil); !bytes.Equal(again, b[4:]) {
			t.Errorf("version %d:\n%x\n%x", version, b[4:], again)
		}
	}
}

// TestPipelinedFetches: what waits to be sent is not written over by what is
// read meanwhile. Requests are sent far ahead of what is taken, for little and for much at a time,
// through segments and memory.
func TestPipelinedFetches(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 1)
	p := topic.Partitions[0]
	const records = 90
	for i := range records {
		appendTo(t, p, recordtest.New(strings.Repeat(fmt.Sprintf("%03d.", i), 100<<(i%10))))
	}
	t.Run("consumers", func(t *testing.T) {
		for _, limit := range []int32{1, 100_000, 1 << 20, 2 << 20} {
			t.Run(fmt.Sprint(limit), func(t *testing.T) {
				t.Parallel()
				c := dial(t, n.addr)
				for off := int64(0); off < records; off += 30 {
					fetchAhead(t, c, topic, off, 30, limit)
				}
			})
		}
	})
	all := fetchBytes()
	await(t, "the budget is given back", func() bool { return n.server.fetches.free.Load() == all })
}

// fetchAhead sends count requests, each for one offset more than the last, and then
// checks the answers.
func fetchAhead(t *testing.T, c net.Conn, topic *broker.Topic, off int64, count int, limit int32) {
	var requests []byte
	for i := range count {
		req := fetchRequest(1, limit, 0, want{topic, 0, off + int64(i), limit})
		req.Version = 11
		requests = append(requests, frameOf(req, int32(i))...)
	}
	send(t, c, requests)
	for range count {
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = 11
		receive(t, c, resp)
		b := resp.Topics[0].Partitions[0].RecordBatches
		if len(b) == 0 {
			t.Fatalf("nothing came for %d", off)
		}
		for next := off; len(b) > 0; next++ {
			batch, rest, err := record.NextBatch(b)
			if err == nil {
				_, err = record.ParseBatch(batch)
			}
			if err != nil || int64(batch.BaseOffset()) != next {
				t.Fatalf("from %d on: offset %d came for %d, %v", off, batch.BaseOffset(), next, err)
			}
			b = rest
		}
		off++
	}
}
