package spec

import (
	"errors"
	"reflect"
	"testing"

	"waybill/internal/record"
)

// ids returns the ids of all methods.
func ids() []ID {
	var all []ID
	for class := ID(0); class <= 100; class++ {
		for method := ID(0); method <= 130; method++ {
			if id := class<<16 | method; New(id) != nil {
				all = append(all, id)
			}
		}
	}
	return all
}

// fill sets every field of the method to something else than zero.
func fill(m Method) {
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		case reflect.String:
			f.SetString("text")
		case reflect.Slice:
			f.SetBytes([]byte("bytes"))
		case reflect.Map:
			f.Set(reflect.ValueOf(record.Table{"a": int32(1)}))
		default:
			f.SetUint(uint64(i) + 1)
		}
	}
}

func TestEveryMethodRoundTrips(t *testing.T) {
	if n := len(ids()); n != 66 {
		t.Errorf("%d methods, want 66", n)
	}
	for _, id := range ids() {
		in := New(id)
		fill(in)
		b := in.Append(nil)
		got, args, err := SplitID(b)
		if err != nil || got != id || in.ID() != id || id.String() == "unknown" {
			t.Fatalf("%v: split into %v, error %v", id, got, err)
		}
		out := New(id)
		if err := out.Decode(args); err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("%v: got %+v, error %v; want %+v", id, out, err, in)
		}
		if err := New(id).Decode(append(args, 0)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%v with a byte too many: error %v", id, err)
		}
		for n := range args {
			if err := New(id).Decode(args[:n]); !errors.Is(err, ErrSyntax) {
				t.Errorf("%v cut off at %d: error %v", id, n, err)
			}
		}
	}
}

func TestHotMethodsDoNotAllocate(t *testing.T) {
	args := (&BasicPublish{Exchange: []byte("x"), RoutingKey: []byte("key")}).Append(nil)[4:]
	var m BasicPublish
	if n := testing.AllocsPerRun(100, func() { _ = m.Decode(args) }); n != 0 {
		t.Errorf("decoding basic.publish takes %v allocations", n)
	}
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { m.Append(buf) }); n != 0 {
		t.Errorf("encoding basic.publish takes %v allocations", n)
	}
}

func FuzzMethod(f *testing.F) {
	for _, id := range ids() {
		m := New(id)
		fill(m)
		f.Add(m.Append(nil))
	}
	f.Add([]byte{0, 50})
	f.Fuzz(func(t *testing.T, payload []byte) {
		id, args, err := SplitID(payload)
		if err != nil {
			return
		}
		m := New(id)
		if m == nil || m.Decode(args) != nil {
			return
		}
		b := m.Append(nil)
		again := New(id)
		if err := again.Decode(b[4:]); err != nil {
			t.Fatalf("%v: %+v cannot be read back: %v", id, m, err)
		}
		if c := again.Append(nil); string(b) != string(c) {
			t.Fatalf("%v: %x became %x", id, b, c)
		}
	})
}
