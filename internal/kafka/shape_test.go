package kafka

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill gives every field of v a value: arrays get two elements, pointers are set.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() && v.Type().Field(i).Name != "Version" {
				fill(f)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i))
		}
	case reflect.String:
		v.SetString("some text")
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(7)
	case reflect.Bool:
		v.SetBool(true)
	}
}

// request returns the body of a request with every field set.
func filledRequest(key, version int16) (kmsg.Request, []byte) {
	req := kmsg.RequestForKey(key)
	fill(reflect.ValueOf(req).Elem())
	req.SetVersion(version)
	return req, req.AppendTo(nil)
}

func TestShapesMatchTheCodec(t *testing.T) {
	for key, sh := range shapes {
		top := kmsg.RequestForKey(key).MaxVersion()
		for version := int16(0); version <= top; version++ {
			req, body := filledRequest(key, version)
			w := walk{decoder: decoder{b: body}, version: version, flexible: req.IsFlexible()}
			w.structure(sh)
			if w.bad || len(w.b) > 0 {
				t.Errorf("%s version %d: bad %v, %d of %d bytes left", kmsg.NameForKey(key), version, w.bad, len(w.b), len(body))
			}
			for cut := range body {
				if checkShape(key, version, req.IsFlexible(), body[:cut]) == nil {
					t.Errorf("%s version %d: accepted when cut off at %d of %d", kmsg.NameForKey(key), version, cut, len(body))
				}
			}
		}
	}
}

func TestEveryServedAPIHasAShape(t *testing.T) {
	for _, a := range apis() {
		if a.key != keyProduce && shapes[a.key] == nil {
			t.Errorf("%s has no shape", kmsg.NameForKey(a.key))
		}
		if req := kmsg.RequestForKey(a.key); req == nil || a.max > req.MaxVersion() {
			t.Errorf("API key %d: version %d is beyond the codec", a.key, a.max)
		}
	}
}

func TestShapeRefusesBombs(t *testing.T) {
	bomb := binary.AppendUvarint(nil, 1<<32-1)
	fetch, _ := filledRequest(1, 12)
	whole := fetch.AppendTo(nil)
	for name, b := range map[string][]byte{
		"tags without end":                   append(whole[:len(whole)-1:len(whole)-1], bomb...),
		"tags in a tag":                      inReplicaState(bomb),
		"an array of 2^31 topics":            {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 7},
		"more than a million empty elements": metadataWith(maxElements + 1),
	} {
		key, version := int16(1), int16(12)
		if name[0] == 'm' {
			key, version = 3, 9
		}
		if checkShape(key, version, true, b) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// inReplicaState is a Fetch version 15 request with the given tags in its tag 1.
func inReplicaState(tags []byte) []byte {
	req := kmsg.NewPtrFetchRequest()
	req.Version = 15
	b := req.AppendTo(nil)
	b = b[:len(b)-1] // the count of tags
	value := append(make([]byte, 12), tags...)
	b = append(b, 1, 1, byte(len(value)))
	return append(b, value...)
}

// metadataWith is a Metadata version 9 request with n empty topics.
func metadataWith(n int) []byte {
	b := binary.AppendUvarint(nil, uint64(n+1))
	for range n {
		b = append(b, 1, 0) // an empty name, no tags
	}
	return append(b, 0, 0, 0, 0)
}
