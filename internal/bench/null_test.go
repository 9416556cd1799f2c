package bench

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/amqp/spec"
)

// A null server answers everything and does nothing. It runs in a process of its own, so that
// what this process uses is the client's alone.

const nullEnv = "WAYBILL_NULL_SERVER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(nullEnv); kind != "" {
		if err := serveNull(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// startNull starts a null server and returns its address.
func startNull(t testing.TB, kind string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), nullEnv+"="+kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // its end is the server's
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return addr[:len(addr)-1]
}

func serveNull(kind string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if kind == "amqp" {
			go nullAMQP(c)
		} else {
			go nullKafka(c, l.Addr().(*net.TCPAddr))
		}
	}
}

// nullAnswers are the methods that a client waits for.
var nullAnswers = map[spec.ID]spec.Method{
	spec.ConnectionStartOKID: &spec.ConnectionTune{FrameMax: frameMax},
	spec.ConnectionOpenID:    &spec.ConnectionOpenOK{},
	spec.ChannelOpenID:       &spec.ChannelOpenOK{},
	spec.ConfirmSelectID:     &spec.ConfirmSelectOK{},
	spec.BasicQosID:          &spec.BasicQosOK{},
	spec.QueueDeclareID:      &spec.QueueDeclareOK{Queue: "q"},
	spec.QueueDeleteID:       &spec.QueueDeleteOK{},
	spec.ConnectionCloseID:   &spec.ConnectionCloseOK{},
	spec.ChannelCloseID:      &spec.ChannelCloseOK{},
}

// nullAMQP confirms whatever is published, with one ack for a read, and floods
// whoever consumes with as many messages as the prefetch lets go.
func nullAMQP(nc net.Conn) {
	defer nc.Close()
	c := &amqpConn{Conn: nc, buf: make([]byte, 2*frameMax), frameMax: frameMax}
	if _, err := io.ReadFull(nc, make([]byte, 8)); err != nil {
		return
	}
	nc.Write(appendMethod(nil, 0, &spec.ConnectionStart{VersionMinor: 9, Mechanisms: "PLAIN", Locales: "en_US"}))
	var published, confirmed, acked, delivered uint64
	var prefetch uint64
	var consuming bool
	var tag string
	message := newTemplate(destination{}, 1024, true, frameMax).frames
	message = message[len(appendMethod(nil, channel, &spec.BasicPublish{})):]
	for c.fill() == nil {
		var out []byte
		for {
			f, ok, err := c.frame()
			if err != nil || !ok {
				break
			}
			if f.kind != spec.FrameMethod {
				continue
			}
			switch id, args, _ := spec.SplitID(f.payload); id {
			case spec.BasicPublishID:
				published++
			case spec.BasicAckID:
				var m spec.BasicAck
				m.Decode(args)
				acked = m.DeliveryTag
			case spec.BasicConsumeID:
				var m spec.BasicConsume
				m.Decode(args)
				consuming, tag = true, m.ConsumerTag
				if !m.NoWait {
					out = appendMethod(out, channel, &spec.BasicConsumeOK{ConsumerTag: tag})
				}
			default:
				if id == spec.BasicQosID {
					var m spec.BasicQos
					m.Decode(args)
					prefetch = uint64(m.PrefetchCount)
				}
				if answer := nullAnswers[id]; answer != nil {
					ch := uint16(channel)
					if id.Class() == 10 {
						ch = 0
					}
					out = appendMethod(out, ch, answer)
				}
			}
		}
		if published > confirmed {
			confirmed = published
			out = appendMethod(out, channel, &spec.BasicAck{DeliveryTag: confirmed, Multiple: true})
		}
		for now := uint64(time.Now().UnixNano()); consuming && delivered < acked+prefetch; {
			delivered++
			out = appendMethod(out, channel, &spec.BasicDeliver{ConsumerTag: []byte(tag), DeliveryTag: delivered, RoutingKey: []byte("q")})
			at := len(out)
			out = append(out, message...)
			binary.BigEndian.PutUint64(out[at+len(message)-1024-1:], now)
		}
		nc.Write(out)
	}
}

// nullKafka acknowledges every produce, and answers every fetch with the same megabyte.
func nullKafka(nc net.Conn, addr *net.TCPAddr) {
	defer nc.Close()
	c := &kafkaConn{Conn: nc}
	w := batchWriter{producerID: -1, producerEpoch: -1, body: newBody(1024)}
	times := make([]int64, 900)
	for i := range times {
		times[i] = time.Now().UnixNano()
	}
	batch := w.append(nil, -1, times)
	r := bufio.NewReaderSize(nc, 1<<20)
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r, b); err != nil {
			return
		}
		key, version := int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:]))
		out := append([]byte{0, 0, 0, 0}, b[4:8]...)
		body := b[10+int(binary.BigEndian.Uint16(b[8:])):]
		resp := nullAnswer(key, version, body, batch, addr)
		if resp == nil {
			return
		}
		if resp.IsFlexible() && key != 18 {
			out = append(out, 0)
		}
		c.Write(c.end(resp.AppendTo(out)))
	}
}

func nullAnswer(key, version int16, body, batch []byte, addr *net.TCPAddr) kmsg.Response {
	req := kmsg.RequestForKey(key)
	resp := req.ResponseKind()
	req.SetVersion(version)
	resp.SetVersion(version)
	if key != 0 { // a produce need not be looked into
		if req.IsFlexible() {
			body = body[1:]
		}
		if err := req.ReadFrom(body); err != nil {
			return nil
		}
	}
	name := "waybill-bench"
	switch r := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		for _, k := range []int16{0, 1, 2, 3, 8, 10, 18, 19, 20, 22} {
			r.ApiKeys = append(r.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: k, MaxVersion: map[int16]int16{18: 3, 0: 7, 1: 11, 3: 8, 20: 5}[k]})
		}
		if version > 3 {
			resp.SetVersion(0)
			r.ErrorCode = 35
		}
	case *kmsg.MetadataResponse:
		b := kmsg.NewMetadataResponseBroker()
		b.Host, b.Port = addr.IP.String(), int32(addr.Port)
		r.Brokers, r.ControllerID = append(r.Brokers, b), 0
		t := kmsg.NewMetadataResponseTopic()
		t.Topic = &name
		t.Partitions = append(t.Partitions, kmsg.NewMetadataResponseTopicPartition())
		r.Topics = append(r.Topics, t)
	case *kmsg.InitProducerIDResponse:
		r.ProducerID = 1
	case *kmsg.ListOffsetsResponse:
		t := kmsg.NewListOffsetsResponseTopic()
		t.Topic = name
		p := kmsg.NewListOffsetsResponseTopicPartition()
		p.Offset = 0
		p.OldStyleOffsets = []int64{0}
		t.Partitions = append(t.Partitions, p)
		r.Topics = append(r.Topics, t)
	case *kmsg.ProduceResponse:
		t := kmsg.NewProduceResponseTopic()
		t.Topic = name
		t.Partitions = append(t.Partitions, kmsg.NewProduceResponseTopicPartition())
		r.Topics = append(r.Topics, t)
	case *kmsg.FetchResponse:
		at := req.(*kmsg.FetchRequest).Topics[0].Partitions[0].FetchOffset
		binary.BigEndian.PutUint64(batch, uint64(at)) // the checksum does not cover it
		t := kmsg.NewFetchResponseTopic()
		t.Topic = name
		p := kmsg.NewFetchResponseTopicPartition()
		p.RecordBatches, p.HighWatermark, p.LastStableOffset = batch, at+1e6, at+1e6
		t.Partitions = append(t.Partitions, p)
		r.Topics = append(r.Topics, t)
	}
	return resp
}
