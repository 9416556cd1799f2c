package kafka

import "encoding/binary"

// What follows appends Kafka's types in the plain or the flexible encoding.

func appendArrayLen(b []byte, n int, flexible bool) []byte {
	if flexible {
		return binary.AppendUvarint(b, uint64(n)+1)
	}
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func appendString(b []byte, s string, flexible bool) []byte {
	if flexible {
		b = binary.AppendUvarint(b, uint64(len(s))+1)
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	}
	return append(b, s...)
}

func appendNullableString(b []byte, s *string, flexible bool) []byte {
	switch {
	case s != nil:
		return appendString(b, *s, flexible)
	case flexible:
		return append(b, 0)
	}
	return append(b, 0xff, 0xff)
}

func appendNoTags(b []byte, flexible bool) []byte {
	if flexible {
		b = append(b, 0)
	}
	return b
}
