package broker

import (
	"fmt"
	"testing"

	"waybill/internal/catalog"
	"waybill/internal/record"
)

// BenchmarkRouting routes one message in an exchange of each type with 1,000 bindings; one
// matches, of the fanout exchange ten.
func BenchmarkRouting(b *testing.B) {
	for _, kind := range []string{"direct", "topic", "fanout", "headers"} {
		b.Run(kind, func(b *testing.B) {
			table, bindings := newTable(kind), 1000
			if kind == "fanout" {
				bindings = 10
			}
			for i := range bindings {
				key := fmt.Sprintf("region%d.orders.*", i)
				if kind == "direct" {
					key = fmt.Sprintf("region%d.orders.new", i)
				}
				args := record.Table{"region": int32(i)}
				table = table.with(bound{
					binding: &catalog.Binding{Source: "x", Destination: fmt.Sprint("q", i), Key: key},
					args:    args,
					target:  target{queue: &Queue{spec: catalog.Queue{Name: fmt.Sprint("q", i)}}},
				})
			}
			headers := record.Table{"region": int32(500)}
			want := map[string]int{"fanout": 10}[kind]
			if want == 0 {
				want = 1
			}
			var to []target
			b.ReportAllocs()
			for b.Loop() {
				if to = table.route("region500.orders.new", func() record.Table { return headers }, to[:0]); len(to) != want {
					b.Fatalf("routed to %d queues, want %d", len(to), want)
				}
			}
		})
	}
}
