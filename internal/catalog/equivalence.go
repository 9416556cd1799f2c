package catalog

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"waybill/internal/record"
)

// property is one attribute of a declaration, to be compared with what is
// declared already.
type property struct {
	name           string
	received, have any
}

// check words a difference as RabbitMQ does; clients look for that.
func (p property) check(what, name, vhost string) *Error {
	if p.received == p.have {
		return nil
	}
	return errorf(Inequivalent, "inequivalent arg '%s' for %s '%s' in vhost '%s': received '%v' but current is '%v'",
		p.name, what, name, vhost, p.received, p.have)
}

// sameArgs names the first argument in which two declarations differ, of what
// ("queue") with that name.
func sameArgs(what, name, vhost string, old, args []byte) *Error {
	if bytes.Equal(old, args) {
		return nil
	}
	have, received := decodeArgs(old), decodeArgs(args)
	keys := slices.Collect(maps.Keys(have))
	keys = slices.AppendSeq(keys, maps.Keys(received))
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		h, r := describe(have, key), describe(received, key)
		if h != r {
			return errorf(Inequivalent, "inequivalent arg '%s' for %s '%s' in vhost '%s': received %s but current is %s",
				key, what, name, vhost, r, h)
		}
	}
	return errorf(Inequivalent, "inequivalent arguments for %s '%s' in vhost '%s'", what, name, vhost)
}

func describe(args record.Table, key string) string {
	value, ok := args[key]
	switch value := value.(type) {
	case nil:
		if !ok {
			return "none"
		}
		return "the value 'undefined'"
	case string:
		return fmt.Sprintf("the value '%s' of type 'longstr'", value)
	case int64:
		return fmt.Sprintf("the value '%d' of type 'signedint'", value)
	default:
		return fmt.Sprintf("the value '%v'", value)
	}
}

// EncodeArgs encodes the arguments of a declaration so that equivalent ones
// are equal byte for byte: RabbitMQ takes numbers of any width as equivalent, and an
// empty table as none.
func EncodeArgs(args record.Table) ([]byte, error) {
	if len(args) == 0 {
		return nil, nil
	}
	normal := make(record.Table, len(args))
	for key, value := range args {
		normal[key] = Normalize(value)
	}
	return normal.Append(nil)
}

// Normalize gives an integer of any width the type int64, and leaves other
// values as they are: RabbitMQ compares integers by value.
func Normalize(value any) any {
	switch n := value.(type) {
	case int8:
		return int64(n)
	case uint8:
		return int64(n)
	case int16:
		return int64(n)
	case uint16:
		return int64(n)
	case int32:
		return int64(n)
	case uint32:
		return int64(n)
	case int:
		return int64(n)
	}
	return value
}

// decodeArgs reads what EncodeArgs wrote.
func decodeArgs(b []byte) record.Table {
	if len(b) == 0 {
		return nil
	}
	t, _, err := record.ParseTable(b)
	if err != nil {
		panic("catalog: " + err.Error()) // it was checked when it was declared
	}
	return t
}
