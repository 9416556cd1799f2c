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
//
// Missing: transactions (24 AddPartitionsToTxn, 25 AddOffsetsToTxn, 26 EndTxn,
// 28 TxnOffsetCommit, 61 DescribeProducers, 65 DescribeTransactions, 66
// ListTransactions), SASL (17, 36), ACLs (29–31), quotas (48, 49), SCRAM users
// (50, 51), 35 DescribeLogDirs, 43 ElectLeaders, 45 and 46 reassignments, 57
// UpdateFeatures, the group protocol of KIP-848 (68, 69), 74
// ListConfigResources, 75 DescribeTopicPartitions, share groups (76–79, 90–92).
// What brokers say to each other (4–7, 27, 52–56, 58, 59, 62–64, 67, …) is never served.
func apis() []api {
	return append(groupAPIs(), []api{
		{0, 0, 13, serveProduce}, // below 3 is refused in the response
		{1, 4, 18, serveFetch},
		{2, 1, 11, wait((*Server).listOffsets)},
		{3, 0, 13, wait((*Server).metadata)},
		{18, 0, 5, now((*Server).apiVersions)},
		{19, 2, 7, wait((*Server).createTopics)},
		{20, 1, 6, wait((*Server).deleteTopics)},
		{21, 0, 2, post((*Server).deleteRecords)},
		{22, 0, 5, wait((*Server).initProducerID)},
		{23, 2, 4, now((*Server).offsetForLeaderEpoch)},
		{32, 1, 4, now((*Server).describeConfigs)},
		{33, 0, 2, wait((*Server).alterConfigs)},
		{37, 0, 3, wait((*Server).createPartitions)},
		{44, 0, 1, wait((*Server).incrementalAlterConfigs)},
		{60, 0, 2, now((*Server).describeCluster)},
	}...)
}
