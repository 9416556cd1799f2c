package amqp

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
)

// exception is a client's mistake, or a refusal. Depending on its code it
// closes the channel or the whole connection.
type exception struct {
	code   uint16
	text   string  // without the code's name
	method spec.ID // the method that failed; 0 when it was none
}

// exceptionf makes an exception; the method is filled in where it is handled.
func exceptionf(code uint16, format string, args ...any) *exception {
	return &exception{code: code, text: fmt.Sprintf(format, args...)}
}

// Error is the reply text, as clients know it: "NOT_FOUND - no queue 'x' …".
func (e *exception) Error() string { return spec.ReplyName(e.code) + " - " + e.text }

// replyText is the reply text cut to what the wire can hold.
func (e *exception) replyText() string { return cut(e.Error(), 255) }

// cut shortens s to at most n bytes without cutting a character in two.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// replyCodes translates the broker's kinds of error.
var replyCodes = map[broker.Kind]uint16{
	broker.Internal:           spec.InternalError,
	broker.NotFound:           spec.NotFound,
	broker.Exists:             spec.PreconditionFailed,
	broker.AccessRefused:      spec.AccessRefused,
	broker.PreconditionFailed: spec.PreconditionFailed,
	broker.ResourceLocked:     spec.ResourceLocked,
	broker.NotAllowed:         spec.NotAllowed,
	broker.NotImplemented:     spec.NotImplemented,
	broker.Invalid:            spec.PreconditionFailed,
	broker.Unavailable:        spec.ResourceError,
	broker.OutOfRange:         spec.PreconditionFailed,
}

// asException turns any error of a method into the exception for the client;
// one that is not the client's doing becomes 541 INTERNAL_ERROR.
func asException(err error) *exception {
	var x *exception
	if errors.As(err, &x) {
		return x
	}
	var b *broker.Error
	if errors.As(err, &b) {
		return &exception{code: replyCodes[b.Kind], text: b.Text}
	}
	if errors.Is(err, spec.ErrSyntax) {
		return &exception{code: spec.SyntaxError, text: err.Error()}
	}
	return &exception{code: spec.InternalError, text: err.Error()}
}
