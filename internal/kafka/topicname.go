package kafka

import (
	"strings"

	"waybill/internal/broker"
)

// checkTopicName refuses what Kafka does not allow as the name of a topic.
func checkTopicName(name string) error {
	bad := func(why string) error {
		return &broker.Error{Kind: broker.Invalid, Code: codeInvalidTopic, Text: "topic name '" + name + "' " + why}
	}
	switch {
	case name == "":
		return bad("is empty")
	case name == "." || name == "..":
		return bad("cannot be '.' or '..'")
	case len(name) > 249:
		return bad("is longer than 249 characters")
	}
	for _, c := range name {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("._-", c)) {
			return bad("may have ASCII letters, digits, '.', '_' and '-' only")
		}
	}
	return nil
}
