package kafka

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// request is one request, from its decoding until its response is sent.
type request struct {
	key, version int16
	correlation  int32
	clientID     string          // may be empty
	body         kmsg.Request    // decoded; its strings and bytes alias the frame. nil for a Produce, see payload
	payload      []byte          // what follows the request header
	ctx          context.Context // ends when the client has gone or the server drains

	conn     *conn
	api      *api
	arrived  time.Time
	size     int      // bytes of the frame
	frame    []byte   // of a Produce, to be used again
	held     int      // bytes of the intake; given back by finish, or earlier for a Produce
	response response // set before done
	done     bool     // answered; protected by conn.mu
}

// response is what a request is answered with: a kmsg.Response, or one that
// lays out its own frame.
type response interface{}

// framer is a response that is encoded by hand.
type framer interface {
	response
	// appendTo appends the body of the response in the request's version.
	appendTo(out *output, version int16)
	isFlexible(version int16) bool
	// sent tells that the bytes were written, or that they never will be.
	sent()
}

// reply answers the request; nil: it gets no response (a Produce with acks=0).
// It is called once, from any goroutine, and does not block.
func (r *request) reply(resp response) {
	r.response = resp
	r.conn.answered(r)
}

// abort closes the connection instead of answering: the protocol has no response
// for what is wrong.
func (r *request) abort(err error) {
	r.conn.logEnd(err)
	r.conn.close()
	r.reply(nil)
}

// start hands the request to its handler.
func (r *request) start() { r.api.serve(r.conn.s, r) }

// decode makes a request of a frame. The error is a *requestError.
func (s *Server) decode(c *conn, frame []byte) (*request, error) {
	if len(frame) < 8 {
		return nil, badRequest("a request of %d bytes has no header", len(frame))
	}
	r := &request{
		conn: c, ctx: c.ctx, arrived: time.Now(), size: len(frame),
		key:         int16(binary.BigEndian.Uint16(frame)),
		version:     int16(binary.BigEndian.Uint16(frame[2:])),
		correlation: int32(binary.BigEndian.Uint32(frame[4:])),
	}
	if r.key < 0 || r.key > maxKey || s.apis[r.key] == nil {
		return nil, badRequest("API key %d (%s) is not served", r.key, kmsg.NameForKey(r.key))
	}
	r.api = s.apis[r.key]
	if r.version < r.api.min || r.version > r.api.max {
		return r, s.unknownVersion(r)
	}
	return r, r.decodeBody(frame[8:])
}

// unknownVersion turns an ApiVersions request of an unknown version into one
// that is answered in version 0; any other is an error.
func (s *Server) unknownVersion(r *request) error {
	if r.key != keyAPIVersions {
		return badRequest("%s version %d is not served, versions %d to %d are", kmsg.NameForKey(r.key), r.version, r.api.min, r.api.max)
	}
	r.version = 0
	r.api = &unknownAPIVersion
	return nil
}

// decodeBody reads what follows the correlation id: the client id, in a
// flexible version tags, and the body.
func (r *request) decodeBody(b []byte) error {
	body := kmsg.RequestForKey(r.key)
	if body == nil {
		return badRequest("API key %d is unknown", r.key)
	}
	body.SetVersion(r.version)
	d := decoder{b: b}
	r.clientID, _ = d.nullableString(false)
	if body.IsFlexible() {
		d.skipTags()
	}
	if d.bad {
		return badRequest("%s version %d: the request header is cut off", kmsg.NameForKey(r.key), r.version)
	}
	r.payload = d.b
	if r.key == keyProduce { // decoded by hand
		return nil
	}
	if err := checkShape(r.key, r.version, body.IsFlexible(), r.payload); err != nil {
		return badRequest("%s version %d: %v", kmsg.NameForKey(r.key), r.version, err)
	}
	if err := body.(unsafeReader).UnsafeReadFrom(r.payload); err != nil {
		return badRequest("%s version %d: %v", kmsg.NameForKey(r.key), r.version, err)
	}
	r.body = body
	return nil
}

// unsafeReader is the variant of ReadFrom whose strings alias the input. A
// frame belongs to its request alone, so that is safe here.
type unsafeReader interface{ UnsafeReadFrom([]byte) error }

// encode appends the response's frame.
func (r *request) encode(out *output) {
	if r.response == nil {
		return
	}
	out.begin()
	out.b = binary.BigEndian.AppendUint32(out.b, uint32(r.correlation))
	switch resp := r.response.(type) {
	case framer:
		if resp.isFlexible(r.version) {
			out.b = append(out.b, 0) // no tags
		}
		resp.appendTo(out, r.version)
	case kmsg.Response:
		resp.SetVersion(r.version)
		if resp.IsFlexible() && r.key != keyAPIVersions {
			out.b = append(out.b, 0) // no tags
		}
		out.b = resp.AppendTo(out.b)
	}
	out.end()
}

// weight is about what the request may cost in memory until it is answered,
// with what it becomes when it is decoded and with its response. The batches of a Produce
// and of a Fetch are counted elsewhere.
func (r *request) weight() int {
	const least, factor = 1 << 20, 32
	switch r.key {
	case keyProduce:
		return 0
	case keyFetch:
		return factor * r.size
	}
	return max(least, factor*r.size)
}

// finish is called once the response is sent, or never will be.
func (r *request) finish() {
	if r.key != keyProduce {
		r.conn.share.Shrink(int64(r.held))
	} else { // the broker has answered for every batch, and looks at none any more
		r.conn.s.frames.put(r.frame)
		r.frame = nil
	}
	if f, ok := r.response.(framer); ok {
		f.sent()
	}
	r.conn.s.metrics.observe(r)
}
