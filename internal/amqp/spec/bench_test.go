package spec

import "testing"

// BenchmarkCodec encodes and decodes what goes over the wire once per message.
func BenchmarkCodec(b *testing.B) {
	b.Run("publish", func(b *testing.B) {
		m := BasicPublish{Exchange: []byte("orders"), RoutingKey: []byte("eu.created")}
		roundTrip(b, &m, &BasicPublish{})
	})
	b.Run("deliver", func(b *testing.B) {
		m := BasicDeliver{ConsumerTag: []byte("worker-1"), DeliveryTag: 1, Exchange: []byte("orders"), RoutingKey: []byte("eu.created")}
		roundTrip(b, &m, &BasicDeliver{})
	})
	b.Run("ack", func(b *testing.B) { roundTrip(b, &BasicAck{DeliveryTag: 1, Multiple: true}, &BasicAck{}) })
}

func roundTrip(b *testing.B, from, to Method) {
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = from.Append(buf[:0])
		_, args, err := SplitID(buf)
		if err == nil {
			err = to.Decode(args)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
