package kafka

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
	"waybill/internal/record"
	"waybill/internal/record/recordtest"
	"waybill/internal/vfs"
)

// produceRequest appends one batch to a partition.
func produceRequest(t *broker.Topic, partition int32, batch []byte, acks int16) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks = acks
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.TopicID = t.Name, t.ID
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = partition, batch
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	return req
}

func TestProduceInEveryVersion(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 1)
	next := int64(0)
	for version := range int16(14) {
		resp := ask[*kmsg.ProduceResponse](n, produceRequest(topic, 0, recordtest.New("a", "b"), -1), version)
		part := resp.Topics[0].Partitions[0]
		if version < 3 {
			if part.ErrorCode != codeUnsupportedVersion || part.BaseOffset != -1 {
				t.Errorf("version %d: %+v", version, part)
			}
			continue
		}
		if part.ErrorCode != 0 || part.BaseOffset != next || part.LogAppendTime != -1 || part.ErrorMessage != nil ||
			version >= 5 && part.LogStartOffset != 0 || version < 13 && resp.Topics[0].Topic != "t" || version >= 13 && resp.Topics[0].TopicID != topic.ID {
			t.Errorf("version %d: %+v", version, resp.Topics[0])
		}
		next += 2
		other := *topic
		other.Name, other.ID = "missing", [16]byte{1}
		want := codeUnknownTopicOrPartition
		if version >= 13 {
			want = codeUnknownTopicID
		}
		resp = ask[*kmsg.ProduceResponse](n, produceRequest(&other, 0, recordtest.New("a"), -1), version)
		if got := resp.Topics[0].Partitions[0].ErrorCode; got != want {
			t.Errorf("version %d to a topic that is missing: error %d", version, got)
		}
	}
}

func TestProduceErrors(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 1)
	flipped := recordtest.New("v")
	flipped[70] ^= 1
	old := recordtest.New("v")
	old[16] = 1
	for name, c := range map[string]struct {
		partition int32
		batch     []byte
		acks      int16
		want      int16
	}{
		"acks 2":          {0, recordtest.New("v"), 2, codeInvalidRequiredAcks},
		"acks -2":         {0, recordtest.New("v"), -2, codeInvalidRequiredAcks},
		"partition 1":     {1, recordtest.New("v"), -1, codeUnknownTopicOrPartition},
		"partition -1":    {-1, recordtest.New("v"), -1, codeUnknownTopicOrPartition},
		"no batch":        {0, nil, -1, codeInvalidRecord},
		"half a batch":    {0, recordtest.New("v")[:50], -1, codeInvalidRecord},
		"two batches":     {0, append(recordtest.New("v"), recordtest.New("v")...), -1, codeInvalidRecord},
		"a flipped bit":   {0, flipped, -1, codeCorruptMessage},
		"an old format":   {0, old, -1, codeUnsupportedForMessage},
		"a gap":           {0, recordtest.N(1, 5, 0, 1), -1, 59},
		"a 2 MB batch":    {0, recordtest.New(string(make([]byte, 2<<20))), -1, codeMessageTooLarge},
		"no transactions": {0, recordtest.Batch{Attributes: 0x10, Values: [][]byte{nil}}.Encode(), -1, codeInvalidTxnState},
	} {
		resp := ask[*kmsg.ProduceResponse](n, produceRequest(topic, c.partition, c.batch, c.acks), 9)
		part := resp.Topics[0].Partitions[0]
		if part.ErrorCode != c.want || part.BaseOffset != -1 {
			t.Errorf("%s: %+v, want error %d", name, part, c.want)
		}
	}
	if got := ask[*kmsg.ProduceResponse](n, produceRequest(topic, 0, recordtest.New("v"), 1), 9); got.Topics[0].Partitions[0].BaseOffset != 0 {
		t.Errorf("a batch that was refused took an offset: %+v", got)
	}
}

func TestRefusedBatchWithoutAckClosesTheConnection(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 1)
	req := produceRequest(topic, 7, recordtest.New("v"), 0)
	req.Version = 9
	c := dial(t, n.addr)
	send(t, c, frameOf(req, 1))
	if k, err := c.Read(make([]byte, 1)); k != 0 || err == nil {
		t.Fatalf("read %d, %v", k, err)
	}
	ask[*kmsg.ApiVersionsResponse](n, apiVersionsRequest(3), 3) // another connection goes on
}

func TestPipelinedProducesAreInOrder(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 2)
	const count = 500
	var all []byte
	for i := range int32(count) {
		// Each batch only fits right behind the one before.
		req := produceRequest(topic, i%2, recordtest.N(1, 9, 0, i/2), -1)
		req.Version = 9
		all = append(all, frameOf(req, i)...)
	}
	go func() { _, _ = n.conn.Write(all) }() // an error shows as a response that is missing
	for i := range int32(count) {
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = 9
		if got := receive(t, n.conn, resp); got != i {
			t.Fatalf("response %d is to request %d", i, got)
		}
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != int64(i/2) {
			t.Fatalf("request %d: %+v", i, p)
		}
	}
}

// TestLargeBatchesAreKept: a large batch that comes alone stays where it was read, between others that are copied; what comes
// later is read to elsewhere. In a race build a frame that is used again although it is kept is spoiled.
func TestLargeBatchesAreKept(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 2)
	sizes := []int{wholeLeast, 200_000, 300_000, 10, 200_000, 70_000, wholeLeast - 200, 70_000, 500_000, 500_000}
	var values []string
	var all []byte
	for i := range int32(60) {
		version := 3 + int16(i)%11
		value := strings.Repeat(fmt.Sprintf("%03d.", i), sizes[int(i)%len(sizes)]/4)
		values = append(values, value)
		req := produceRequest(topic, 0, recordtest.New(value), -1)
		if i%7 == 3 { // it does not come alone
			other := produceRequest(topic, 1, recordtest.New("another"), -1).Topics[0]
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, other.Partitions...)
		}
		req.Version = version
		all = append(all, frameOf(req, i)...)
	}
	go func() { _, _ = n.conn.Write(all) }() // an error shows as a response that is missing
	for i := range int32(len(values)) {
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = 3 + int16(i)%11
		if got := receive(t, n.conn, resp); got != i {
			t.Fatalf("response %d is to request %d", i, got)
		}
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != int64(i) {
			t.Fatalf("request %d: %+v", i, p)
		}
	}
	for i, value := range values {
		resp := ask[*kmsg.FetchResponse](n, fetchRequest(1, 1, 0, want{topic, 0, int64(i), 1}), 11)
		b, err := record.ParseBatch(resp.Topics[0].Partitions[0].RecordBatches)
		if err != nil || b.BaseOffset() != record.Offset(i) || !bytes.Contains(b, []byte(value)) {
			t.Fatalf("record %d: %v", i, err)
		}
	}
}

// TestKeptFrame: what is kept is the batch with room before it, and hardly more.
func TestKeptFrame(t *testing.T) {
	batch := recordtest.New(strings.Repeat("v", wholeLeast))
	frame := func(version int16, extra int) (*produce, []byte) {
		req := produceRequest(&broker.Topic{Name: "t"}, 0, batch, -1)
		for range extra {
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, req.Topics[0].Partitions[0])
		}
		req.Version = version
		b := frameOf(req, 1)[4:]
		p := &produce{r: &request{conn: new(conn), frame: bytes.Clone(b)[:len(b):len(b)]}}
		d := decoder{b: p.r.frame[8:]}
		d.nullableString(false)
		if version >= 9 {
			d.skipTags()
		}
		if err := p.decode(d.b, version); err != nil {
			t.Fatal(err)
		}
		return p, p.r.frame
	}
	for version := int16(3); version <= 13; version++ {
		p, _ := frame(version, 0)
		mem := p.takeFrame()
		if len(mem) != broker.AppendRoom+len(batch) || !bytes.Equal(mem[broker.AppendRoom:], batch) || cap(mem) != len(mem) {
			t.Errorf("version %d: %d bytes of %d", version, len(mem), len(batch))
		}
		if p.r.frame != nil || !p.r.conn.keeps {
			t.Errorf("version %d: the frame will be used again", version)
		}
	}
	p, _ := frame(9, 1)
	if p.takeFrame() != nil || p.r.frame == nil || p.r.conn.keeps {
		t.Error("one of two batches is kept")
	}
	p, b := frame(9, 0)
	p.r.frame = append(make([]byte, 0, 2*len(b)), b...)
	if p.takeFrame() != nil || p.r.frame == nil || !p.r.conn.keeps {
		t.Error("twice the memory is kept, or the next frame will be so large again")
	}
}

// decodeBoth decodes a Produce body by hand and with the general codec.
func decodeBoth(b []byte, version int16) (*produce, error, *kmsg.ProduceRequest, error) {
	p := &produce{}
	err := p.decode(b, version)
	req := kmsg.NewPtrProduceRequest()
	req.Version = version
	if err != nil { // the general one may loop for minutes over tags
		return p, err, req, err
	}
	return p, err, req, req.ReadFrom(b)
}

func FuzzProduceRequest(f *testing.F) {
	for version := range int16(14) {
		_, body := filledRequest(keyProduce, version)
		f.Add(body, version)
	}
	f.Fuzz(func(t *testing.T, b []byte, version int16) {
		version &= 0xf
		if version > 13 {
			return
		}
		p, err, req, kerr := decodeBoth(b, version)
		if err != nil {
			return
		}
		if kerr != nil {
			t.Fatalf("accepted what the general codec does not: %v", kerr)
		}
		if p.acks != req.Acks || len(p.topics) != len(req.Topics) {
			t.Fatalf("acks %d, %d topics; want %d, %d", p.acks, len(p.topics), req.Acks, len(req.Topics))
		}
		parts := p.parts
		for i, topic := range p.topics {
			if topic.name != req.Topics[i].Topic || topic.id != req.Topics[i].TopicID || topic.n != len(req.Topics[i].Partitions) {
				t.Fatalf("%+v, want %+v", topic, req.Topics[i])
			}
			for j, want := range req.Topics[i].Partitions {
				if parts[j].number != want.Partition || !bytes.Equal(parts[j].batch, want.Records) {
					t.Fatalf("%+v, want %+v", parts[j], want)
				}
			}
			parts = parts[topic.n:]
		}
	})
}

func TestProduceResponseMatchesTheCodec(t *testing.T) {
	for version := range int16(14) {
		p := &produce{topics: []produceTopic{{name: "t", id: [16]byte{7}, n: 2}, {name: "empty"}}, parts: []producePart{
			{number: 3, result: broker.AppendResult{Base: 12345678901, LogStart: 5, Time: 77}},
			{number: 4, code: 10, result: broker.AppendResult{Base: -1, LogStart: -1, Time: -1, Err: &broker.Error{Text: "too large"}}},
		}}
		b := p.encode(nil, version)
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = version
		if err := resp.ReadFrom(b); err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if again := resp.AppendTo(nil); !bytes.Equal(again, b) {
			t.Errorf("version %d:\n%x\n%x", version, b, again)
		}
		if part := resp.Topics[0].Partitions[0]; part.Partition != 3 || part.BaseOffset != 12345678901 {
			t.Errorf("version %d: %+v", version, part)
		}
	}
}

func BenchmarkProduceDecode(b *testing.B) {
	req := produceRequest(&broker.Topic{Name: "a-usual-topic-name"}, 3, recordtest.New(string(make([]byte, 1024))), -1)
	req.Version = 9
	body := req.AppendTo(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		p := &produce{}
		if err := p.decode(body, 9); err != nil || len(p.parts) != 1 {
			b.Fatal(err)
		}
	}
}

func BenchmarkFetchEncode(b *testing.B) {
	s, _ := newTestServer(b, Config{})
	batch := recordtest.New(string(make([]byte, 1<<20)))
	f := &fetchResponse{s: s, size: len(batch) * 10}
	f.topics = []fetchTopic{{name: "a-usual-topic-name"}}
	for i := range int32(10) {
		f.topics[0].parts = append(f.topics[0].parts, fetchPart{number: i, result: broker.ReadResult{Batches: [][]byte{batch}, Size: len(batch)}})
	}
	var out output
	b.ReportAllocs()
	b.SetBytes(int64(f.size))
	for b.Loop() {
		out.begin()
		f.appendTo(&out, 12)
		out.end()
		out.b, out.cuts = out.b[:0], out.cuts[:0]
	}
}

func TestProduceOfManyPartitions(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topics := []*broker.Topic{n.createTopic("a", 20), n.createTopic("b", 30)}
	req := kmsg.NewPtrProduceRequest()
	req.Acks = -1
	for _, topic := range topics {
		all := produceRequest(topic, 0, recordtest.New("first"), -1).Topics[0]
		for i := 1; i < len(topic.Partitions)+1; i++ { // one too many
			all.Partitions = append(all.Partitions, produceRequest(topic, int32(i), recordtest.New(fmt.Sprint(i)), -1).Topics[0].Partitions[0])
		}
		req.Topics = append(req.Topics, all)
	}
	resp := ask[*kmsg.ProduceResponse](n, req, 11)
	for i, topic := range topics {
		for j, p := range resp.Topics[i].Partitions {
			want := codeNone
			if j == len(topic.Partitions) {
				want = codeUnknownTopicOrPartition
			}
			if p.ErrorCode != want || p.Partition != int32(j) {
				t.Errorf("%s/%d: %+v", topic.Name, j, p)
			}
		}
		for j, p := range topic.Partitions {
			if _, high := p.Offsets(); high != 1 {
				t.Errorf("%s/%d: high watermark %d", topic.Name, j, high)
			}
		}
	}
}
