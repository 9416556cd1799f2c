package record

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func fieldGen(depth int) *rapid.Generator[any] {
	gens := []*rapid.Generator[any]{
		rapid.Bool().AsAny(), rapid.Int8().AsAny(), rapid.Uint8().AsAny(), rapid.Int16().AsAny(),
		rapid.Uint16().AsAny(), rapid.Int32().AsAny(), rapid.Uint32().AsAny(), rapid.Int64().AsAny(),
		rapid.Float32().AsAny(), rapid.Float64().AsAny(), rapid.String().AsAny(),
		rapid.SliceOfN(rapid.Byte(), 0, 40).AsAny(),
		rapid.Map(rapid.Uint64(), func(n uint64) any { return Timestamp(n) }),
		rapid.Map(rapid.Uint32(), func(n uint32) any { return Decimal{Scale: uint8(n), Value: n} }),
		rapid.Just[any](nil),
	}
	if depth > 0 {
		gens = append(gens, tableGen(depth-1).AsAny(), rapid.SliceOfN(fieldGen(depth-1), 0, 5).AsAny())
	}
	return rapid.OneOf(gens...)
}

func tableGen(depth int) *rapid.Generator[Table] {
	return rapid.Map(rapid.MapOfN(rapid.StringN(0, 60, 255), fieldGen(depth), 0, 6),
		func(m map[string]any) Table { return Table(m) })
}

func TestTableRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := tableGen(3).Draw(t, "table")
		b, err := in.Append([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, "after"...)
		out, rest, err := ParseTable(b[len("before"):])
		if err != nil || string(rest) != "after" {
			t.Fatalf("rest %q, error %v", rest, err)
		}
		if !reflect.DeepEqual(in, out) || !in.Equal(out) {
			t.Fatalf("got %#v, want %#v", out, in)
		}
		if rest, err := CheckTable(b[len("before"):]); err != nil || string(rest) != "after" {
			t.Fatalf("check: rest %q, error %v", rest, err)
		}
	})
}

// wire returns an encoded table with the given fields, each a length-prefixed
// name, a letter and a value.
func wire(fields string) []byte {
	return append([]byte{0, 0, byte(len(fields) >> 8), byte(len(fields))}, fields...)
}

func TestTableReadsEveryLetter(t *testing.T) {
	for _, c := range []struct {
		wire string
		want any
	}{
		{"t\x02", true},
		{"t\x00", false},
		{"b\xff", int8(-1)},
		{"B\xff", uint8(255)},
		{"s\xff\xfe", int16(-2)},
		{"u\xff\xfe", uint16(0xfffe)},
		{"I\xff\xff\xff\xfd", int32(-3)},
		{"i\xff\xff\xff\xfd", uint32(0xfffffffd)},
		{"l\xff\xff\xff\xff\xff\xff\xff\xfc", int64(-4)},
		{"L\xff\xff\xff\xff\xff\xff\xff\xfc", int64(-4)},
		{"f\x3f\x80\x00\x00", float32(1)},
		{"d\x3f\xf0\x00\x00\x00\x00\x00\x00", float64(1)},
		{"D\x02\x00\x00\x01\x3a", Decimal{Scale: 2, Value: 314}},
		{"S\x00\x00\x00\x02hi", "hi"},
		{"x\x00\x00\x00\x02hi", []byte("hi")},
		{"T\x00\x00\x00\x00\x00\x00\x00\x07", Timestamp(7)},
		{"A\x00\x00\x00\x03t\x01V", []any{true, nil}},
		{"F\x00\x00\x00\x04\x01at\x01", Table{"a": true}},
		{"V", nil},
	} {
		got, _, err := ParseTable(wire("\x01k" + c.wire))
		if err != nil || !reflect.DeepEqual(got, Table{"k": c.want}) {
			t.Errorf("%q: got %#v, %v; want %#v", c.wire, got, err, c.want)
		}
		if _, err := CheckTable(wire("\x01k" + c.wire)); err != nil {
			t.Errorf("%q: check: %v", c.wire, err)
		}
	}
}

func TestTableRefuses(t *testing.T) {
	deep := []byte{'V'}
	for range MaxTableDepth {
		deep = append([]byte{'A', 0, 0, byte(len(deep) >> 8), byte(len(deep))}, deep...)
	}
	many := strings.Repeat("V", MaxTableFields+1)
	for name, b := range map[string][]byte{
		"empty":             {},
		"no length":         {0, 0, 0},
		"length beyond":     {0, 0, 0, 9, 1, 'a', 'V'},
		"declared 4 GiB":    {255, 255, 255, 255},
		"name cut off":      wire("\x09ab"),
		"no letter":         wire("\x01a"),
		"unknown letter":    wire("\x01aZ"),
		"text beyond":       wire("\x01aS\x7f\xff\xff\xffx"),
		"integer cut off":   wire("\x01aI\x00\x00"),
		"array beyond":      wire("\x01aA\x00\x00\x00\x09V"),
		"inner beyond":      wire("\x01aF\x00\x00\x00\x03\x01bS\x00\x00\x00\x01x"),
		"nested too deep":   wire("\x01a" + string(deep)),
		"too many elements": wire("\x01aA" + string([]byte{0, 0, byte(len(many) >> 8), byte(len(many))}) + many),
	} {
		if got, _, err := ParseTable(b); !errors.Is(err, ErrTable) {
			t.Errorf("%s: got %v, error %v", name, got, err)
		}
		if _, err := CheckTable(b); !errors.Is(err, ErrTable) {
			t.Errorf("%s: check: error %v", name, err)
		}
	}
}

func TestTableAppendRefuses(t *testing.T) {
	deep := any(nil)
	for range MaxTableDepth {
		deep = []any{deep}
	}
	for name, table := range map[string]Table{
		"long name":  {strings.Repeat("n", 256): true},
		"other type": {"a": struct{}{}},
		"too deep":   {"a": deep},
		"in array":   {"a": []any{complex(1, 1)}},
	} {
		b, err := table.Append([]byte("kept"))
		if !errors.Is(err, ErrTable) || string(b) != "kept" {
			t.Errorf("%s: got %q, error %v", name, b, err)
		}
	}
}

func TestTableEncodesIntAndFirstOfDuplicates(t *testing.T) {
	if !(Table{"a": 5, "b": 1 << 40}).Equal(Table{"a": int32(5), "b": int64(1 << 40)}) {
		t.Error("an int is not encoded by its size")
	}
	got, _, err := ParseTable(wire("\x01at\x01\x01at\x00"))
	if err != nil || got["a"] != true {
		t.Errorf("got %v, %v; the first field of a name counts", got, err)
	}
}

func TestCheckTableDoesNotAllocate(t *testing.T) {
	b, err := Table{"a": Table{"b": []any{"x", int32(1)}}, "c": "text"}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = CheckTable(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzTable(f *testing.F) {
	b, _ := Table{"a": int32(1), "b": []any{"x", nil, Table{"c": 1.5}}, "d": Decimal{1, 2}}.Append(nil)
	f.Add(b)
	f.Add(wire("\x01aZ"))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, rest, err := ParseTable(b)
		checked, checkErr := CheckTable(b)
		if (err == nil) != (checkErr == nil) || len(rest) != len(checked) {
			t.Fatalf("parse: %d left, %v; check: %d left, %v", len(rest), err, len(checked), checkErr)
		}
		if err != nil {
			return
		}
		first, err := table.Append(nil)
		if err != nil {
			t.Fatalf("a decoded table cannot be encoded: %v", err)
		}
		again, _, err := ParseTable(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := again.Append(nil)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%x became %x (%v)", first, second, err)
		}
	})
}
