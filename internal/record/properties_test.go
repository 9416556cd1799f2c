package record

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func propertiesGen() *rapid.Generator[Properties] {
	text := rapid.StringN(0, 20, 255)
	return rapid.Custom(func(t *rapid.T) Properties {
		p := Properties{
			ContentType: text.Draw(t, "content type"), ContentEncoding: text.Draw(t, "encoding"),
			DeliveryMode:  rapid.Uint8().Draw(t, "mode"),
			CorrelationID: text.Draw(t, "correlation"), ReplyTo: text.Draw(t, "reply to"),
			Expiration: text.Draw(t, "expiration"), MessageID: text.Draw(t, "message id"),
			Type: text.Draw(t, "type"), UserID: text.Draw(t, "user"), AppID: text.Draw(t, "app"),
			ClusterID: text.Draw(t, "cluster"),
		}
		if rapid.Bool().Draw(t, "with headers") {
			p.Headers = tableGen(2).Draw(t, "headers")
		}
		if rapid.Bool().Draw(t, "with numbers") {
			priority, ts := rapid.Uint8().Draw(t, "priority"), Timestamp(rapid.Uint64().Draw(t, "time"))
			p.Priority, p.Timestamp = &priority, &ts
		}
		return p
	})
}

func TestPropertiesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := propertiesGen().Draw(t, "properties")
		b, err := in.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		out, err := ParseProperties(b)
		if err != nil || !reflect.DeepEqual(in, out) {
			t.Fatalf("got %+v, %v; want %+v", out, err, in)
		}
		raw := RawProperties(b)
		if err := raw.Check(); err != nil {
			t.Fatal(err)
		}
		if string(raw.Expiration()) != in.Expiration || string(raw.UserID()) != in.UserID ||
			string(raw.ReplyTo()) != in.ReplyTo || raw.DeliveryMode() != in.DeliveryMode {
			t.Fatalf("accessors differ from %+v", in)
		}
		if in.Priority != nil && raw.Priority() != *in.Priority {
			t.Fatalf("priority %d, want %d", raw.Priority(), *in.Priority)
		}
		if got := raw.HeaderTable(); !reflect.DeepEqual(got, in.Headers) {
			t.Fatalf("headers %v, want %v", got, in.Headers)
		}
		changed, err := raw.WithHeaders(Table{"new": true})
		if err != nil {
			t.Fatal(err)
		}
		in.Headers = Table{"new": true}
		if out, err := ParseProperties(changed); err != nil || !reflect.DeepEqual(in, out) {
			t.Fatalf("with headers: got %+v, %v; want %+v", out, err, in)
		}
		if changed, err = changed.WithReplyTo("new"); err != nil {
			t.Fatal(err)
		}
		in.ReplyTo = "new"
		if out, err := ParseProperties(changed); err != nil || !reflect.DeepEqual(in, out) {
			t.Fatalf("with reply-to: got %+v, %v; want %+v", out, err, in)
		}
	})
}

func TestPropertiesRefuse(t *testing.T) {
	for name, b := range map[string]string{
		"empty":            "",
		"one byte":         "\x80",
		"second flag word": "\x00\x01\x00\x00",
		"unknown flag":     "\x00\x02",
		"text cut off":     "\x80\x00\x05abc",
		"no text":          "\x80\x00",
		"headers cut off":  "\x20\x00\x00\x00\x00\x09\x01aV",
		"bad headers":      "\x20\x00\x00\x00\x00\x03\x01aZ",
		"time cut off":     "\x00\x40\x00\x00",
		"too many bytes":   "\x00\x00x",
	} {
		if err := RawProperties(b).Check(); !errors.Is(err, ErrProperties) {
			t.Errorf("%s: check: %v", name, err)
		}
		if _, err := ParseProperties([]byte(b)); !errors.Is(err, ErrProperties) {
			t.Errorf("%s: parse: %v", name, err)
		}
	}
	p := Properties{ContentType: "kept?", UserID: strings.Repeat("u", 256)}
	if b, err := p.Append([]byte("kept")); !errors.Is(err, ErrProperties) || string(b) != "kept" {
		t.Errorf("long text: %q, %v", b, err)
	}
}

func FuzzProperties(f *testing.F) {
	p := Properties{ContentType: "text/plain", Headers: Table{"a": 1}, DeliveryMode: 2, UserID: "guest"}
	b, _ := p.Append(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		raw := RawProperties(b)
		raw.Headers()
		raw.UserID()
		p, err := ParseProperties(b)
		if checkErr := raw.Check(); (err == nil) != (checkErr == nil) {
			t.Fatalf("parse: %v; check: %v", err, checkErr)
		}
		if err != nil {
			return
		}
		first, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseProperties(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := again.Append(nil)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%x became %x (%v)", first, second, err)
		}
	})
}
