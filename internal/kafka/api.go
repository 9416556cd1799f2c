package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// api is one Kafka API that this broker serves, in all versions from min to
// max. ApiVersions advertises exactly this.
type api struct {
	key      int16
	min, max int16
	serve    handler
}

// handler starts to serve one request. It runs on the connection's reader, in
// the order of the requests, and must not block; the request must be answered
// once, with request.reply. There are three ways to make one:
//
//   - now: the answer is known at once.
//   - wait: the handler may block (on the disk, on a raft group, on a rebalance). It gets
//     its own goroutine, so it may overtake or be overtaken by its neighbours
//     of the same connection; responses still go out in order. It has to return
//     when request.ctx is done: the client has gone, or the server drains.
//   - post: the handler must take effect in the order of the requests, but is answered
//     later: it hands the work on, in order and without blocking, and calls
//     request.reply from wherever the result turns up.
type handler func(*Server, *request)

func now[T kmsg.Request](h func(*Server, *request, T) kmsg.Response) handler {
	return func(s *Server, r *request) { r.reply(h(s, r, r.body.(T))) }
}

func wait[T kmsg.Request](h func(*Server, *request, T) kmsg.Response) handler {
	return func(s *Server, r *request) {
		go func() { r.reply(h(s, r, r.body.(T))) }()
	}
}

func post[T kmsg.Request](h func(*Server, *request, T)) handler {
	return func(s *Server, r *request) { h(s, r, r.body.(T)) }
}

// apis is the table of all that is served. The low minimums are Kafka's own:
// old clients conclude from them what the broker can do.
func apis() []api {
	return append(groupAPIs(), []api{
		{18, 0, 5, now((*Server).apiVersions)},
	}...)
}
