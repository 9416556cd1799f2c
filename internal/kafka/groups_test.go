package kafka

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

// groupNode is a broker on a file system in memory, served to one connection.
type groupNode struct {
	t      testing.TB
	fs     *vfs.Mem
	store  *storage.Store
	host   *replica.Host
	broker *broker.Broker
	server *Server
	served chan error
	port   *lastingPort
	addr   string
	conn   net.Conn
}

// lastingPort is a listener that can be served again after it was closed. While
// nobody does, clients are not refused but wait.
type lastingPort struct{ *net.TCPListener }

func newLastingPort(t testing.TB) *lastingPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &lastingPort{l.(*net.TCPListener)}
}

// Close implements net.Listener.
func (p *lastingPort) Close() error { return p.SetDeadline(time.Unix(1, 0)) }

// startGroupNode listens on the port, or on one of its own when that is nil.
func startGroupNode(t testing.TB, fs *vfs.Mem, port *lastingPort) *groupNode {
	t.Helper()
	if port == nil {
		port = newLastingPort(t)
	}
	n := &groupNode{t: t, fs: fs, port: port, addr: port.Addr().String(), served: make(chan error, 1)}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	n.store, err = storage.Open(fs, "data", storage.Options{
		WALFileSize: 1 << 20,
		Checkpoint:  func(id record.LogID) (storage.Checkpoint, bool) { return n.host.Checkpoint(id) },
		Fatal:       func(err error) { panic(err) },
		Logger:      log,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.host = replica.NewHost(replica.Config{Store: n.store, ReplicaID: 1, Logger: log})
	n.store.Start()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	settings := DefaultSettings()
	settings.GroupInitialRebalanceDelay = 0
	n.broker, err = broker.Open(ctx, broker.Config{
		Store: n.store, Host: n.host, Node: 1, Groups: settings.GroupConfig(), Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.server = NewServer(Config{Broker: n.broker, Logger: log, NodeID: 7, Settings: settings})
	if err := port.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() { n.served <- n.server.Serve(port) }()
	n.conn = dial(t, n.addr)
	return n
}

// stop stops everything in order.
func (n *groupNode) stop() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.server.Shutdown(ctx); err != nil {
		n.t.Errorf("Shutdown: %v", err)
	}
	if err := <-n.served; err != ErrServerClosed {
		n.t.Errorf("Serve: %v", err)
	}
	n.broker.Close()
	n.host.Close()
	if err := n.store.Close(); err != nil {
		n.t.Error(err)
	}
}

// ask sends a request in a version and waits for its response.
func ask[R kmsg.Response](n *groupNode, req kmsg.Request, version int16) R {
	n.t.Helper()
	req.SetVersion(version)
	send(n.t, n.conn, frameOf(req, int32(version)))
	resp := req.ResponseKind().(R)
	receive(n.t, n.conn, resp)
	return resp
}

func (n *groupNode) createTopic(name string, partitions int32) *broker.Topic {
	n.t.Helper()
	topic, err := n.broker.CreateTopic(context.Background(), broker.TopicSpec{Name: name, Partitions: partitions, ReplicationFactor: 1}, false)
	if err != nil {
		n.t.Fatal(err)
	}
	return topic
}

func joinRequest(group, member string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = group, member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 30_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", []byte{0, 0, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 0}
	req.Protocols = append(req.Protocols, p)
	return req
}

func syncRequest(group, member string, generation int32) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	a := kmsg.NewSyncGroupRequestGroupAssignment()
	a.MemberID, a.MemberAssignment = member, []byte("all of it")
	req.GroupAssignment = append(req.GroupAssignment, a)
	return req
}

func (n *groupNode) heartbeat(group, member string, generation int32, version int16) int16 {
	n.t.Helper()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	return ask[*kmsg.HeartbeatResponse](n, req, version).ErrorCode
}

func commitRequest(group, member string, generation int32, topic *broker.Topic, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.TopicID = topic.Name, topic.ID
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = 1, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func (n *groupNode) commit(group, member string, generation int32, topic *broker.Topic, offset int64, version int16) int16 {
	n.t.Helper()
	resp := ask[*kmsg.OffsetCommitResponse](n, commitRequest(group, member, generation, topic, offset), version)
	return resp.Topics[0].Partitions[0].ErrorCode
}

// committed fetches the offset of partition 1 in a version.
func (n *groupNode) committed(group string, topic *broker.Topic, version int16) int64 {
	n.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	if version >= 8 {
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = group
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.TopicID, t.Partitions = topic.Name, topic.ID, []int32{1}
		g.Topics = append(g.Topics, t)
		req.Groups = append(req.Groups, g)
		resp := ask[*kmsg.OffsetFetchResponse](n, req, version)
		p := resp.Groups[0].Topics[0].Partitions[0]
		if resp.Groups[0].ErrorCode != 0 || p.ErrorCode != 0 || p.Partition != 1 {
			n.t.Fatalf("version %d: %+v", version, resp)
		}
		return p.Offset
	}
	req.Group = group
	t := kmsg.NewOffsetFetchRequestTopic()
	t.Topic, t.Partitions = topic.Name, []int32{1}
	req.Topics = append(req.Topics, t)
	resp := ask[*kmsg.OffsetFetchResponse](n, req, version)
	p := resp.Topics[0].Partitions[0]
	if resp.ErrorCode != 0 || p.ErrorCode != 0 || p.Partition != 1 {
		n.t.Fatalf("version %d: %+v", version, resp)
	}
	return p.Offset
}

// TestAGroupInEveryVersion takes a group through its life once for each
// version of JoinGroup, with the other APIs in versions of the same age.
func TestAGroupInEveryVersion(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 2)
	for v := range int16(10) {
		group := "g" + string(rune('0'+v))
		join := ask[*kmsg.JoinGroupResponse](n, joinRequest(group, ""), v)
		if v >= 4 {
			if join.ErrorCode != 79 || join.MemberID == "" {
				t.Fatalf("version %d: %+v", v, join)
			}
			join = ask[*kmsg.JoinGroupResponse](n, joinRequest(group, join.MemberID), v)
		}
		if join.ErrorCode != 0 || join.Generation != 1 || *join.Protocol != "range" || len(join.Members) != 1 || join.LeaderID != join.MemberID {
			t.Fatalf("version %d: %+v", v, join)
		}
		sync := ask[*kmsg.SyncGroupResponse](n, syncRequest(group, join.MemberID, 1), min(v, 5))
		if sync.ErrorCode != 0 || string(sync.MemberAssignment) != "all of it" {
			t.Fatalf("version %d: %+v", v, sync)
		}
		if code := n.heartbeat(group, join.MemberID, 1, min(v, 4)); code != 0 {
			t.Fatalf("heartbeat: %d", code)
		}
		if code := n.commit(group, join.MemberID, 1, topic, int64(v), min(v+2, 10)); code != 0 {
			t.Fatalf("commit: %d", code)
		}
		if code := n.commit(group, join.MemberID, 0, topic, 99, min(v+2, 10)); code != 22 {
			t.Fatalf("commit of an old generation: %d", code)
		}
		if got := n.committed(group, topic, v+1); got != int64(v) {
			t.Fatalf("version %d: offset %d", v+1, got)
		}
		n.describe(group, min(v, 6))
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.MemberID = group, join.MemberID
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = join.MemberID
		leave.Members = append(leave.Members, m)
		left := ask[*kmsg.LeaveGroupResponse](n, leave, min(v, 5))
		if left.ErrorCode != 0 || v >= 3 && left.Members[0].ErrorCode != 0 {
			t.Fatalf("leave: %+v", left)
		}
	}
}

func (n *groupNode) describe(group string, version int16) {
	n.t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group, "nobody", group}
	resp := ask[*kmsg.DescribeGroupsResponse](n, req, version)
	g, none := resp.Groups[0], resp.Groups[1]
	if again := resp.Groups[2]; again.ErrorCode != codeInvalidRequest || len(again.Members) != 0 {
		n.t.Fatalf("version %d: %+v", version, again)
	}
	if g.ErrorCode != 0 || g.State != "Stable" || g.Members[0].ClientHost != "/127.0.0.1" || g.Members[0].ClientID != "test" {
		n.t.Fatalf("version %d: %+v", version, g)
	}
	want := codeNone
	if version >= 6 {
		want = codeGroupIDNotFound
	}
	if none.State != "Dead" || none.ErrorCode != want || (none.ErrorMessage == nil) != (version < 6) {
		n.t.Fatalf("version %d: %+v", version, none)
	}
}

// group describes a group.
func (n *groupNode) group(name string) *broker.GroupDescription {
	is := make(chan *broker.GroupDescription, 1)
	n.broker.DescribeGroup(name, func(d *broker.GroupDescription) { is <- d })
	return <-is
}

// awaitGroup returns once the group is in that state with so many members.
func (n *groupNode) awaitGroup(name, state string, members int) {
	n.t.Helper()
	await(n.t, fmt.Sprintf("group %s is %s with %d members", name, state, members), func() bool {
		d := n.group(name)
		return d.State == state && len(d.Members) == members
	})
}

// await polls until something becomes true.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestFindCoordinator(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	for v := range int16(7) {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g", "h"}
		resp := ask[*kmsg.FindCoordinatorResponse](n, req, v)
		node, host, port, message := resp.NodeID, resp.Host, resp.Port, resp.ErrorMessage
		if v >= 4 {
			c := resp.Coordinators[1]
			node, host, port, message = c.NodeID, c.Host, c.Port, c.ErrorMessage
		}
		if node != 7 || net.JoinHostPort(host, "") != "127.0.0.1:" || port == 0 || message != nil {
			t.Fatalf("version %d: %+v", v, resp)
		}
		if v == 0 {
			continue
		}
		req.CoordinatorType = coordinatorTransaction
		resp = ask[*kmsg.FindCoordinatorResponse](n, req, v)
		code, message := resp.ErrorCode, resp.ErrorMessage
		if v >= 4 {
			code, message = resp.Coordinators[0].ErrorCode, resp.Coordinators[0].ErrorMessage
		}
		if code != codeTransactionalIDDenied || message == nil {
			t.Fatalf("version %d: %+v", v, resp)
		}
	}
}

func TestGroupsAreListedAndDeleted(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 2)
	member := ask[*kmsg.JoinGroupResponse](n, joinRequest("live", ""), 3).MemberID
	for _, group := range []string{"a", "b", "c", "d"} {
		if code := n.commit(group, "", -1, topic, 1, 5); code != 0 {
			t.Fatalf("commit: %d", code)
		}
	}
	list := kmsg.NewPtrListGroupsRequest()
	for v := range int16(6) {
		if got := len(ask[*kmsg.ListGroupsResponse](n, list, v).Groups); got != 5 {
			t.Fatalf("version %d: %d groups", v, got)
		}
	}
	list.StatesFilter = []string{"empty"}
	if got := len(ask[*kmsg.ListGroupsResponse](n, list, 4).Groups); got != 4 {
		t.Fatalf("%d empty groups", got)
	}
	list.TypesFilter = []string{"share"}
	if got := len(ask[*kmsg.ListGroupsResponse](n, list, 5).Groups); got != 0 {
		t.Fatalf("%d share groups", got)
	}
	for v, group := range []string{"a", "b", "c", "d"} {
		del := kmsg.NewPtrDeleteGroupsRequest()
		del.Groups = []string{group, "live", "nobody"}
		resp := ask[*kmsg.DeleteGroupsResponse](n, del, int16(v))
		for i, want := range []int16{0, 68, 69} {
			if g := resp.Groups[i]; g.ErrorCode != want || v == 3 && (g.ErrorMessage == nil) != (want == 0) {
				t.Fatalf("version %d: %+v", v, resp)
			}
		}
		if got := n.committed(group, topic, 5); got != -1 {
			t.Fatalf("offset of a deleted group: %d", got)
		}
	}
	off := kmsg.NewPtrOffsetDeleteRequest()
	off.Group = "live"
	for _, name := range []string{"t", "unknown"} {
		ot := kmsg.NewOffsetDeleteRequestTopic()
		ot.Topic = name
		ot.Partitions = append(ot.Partitions, kmsg.NewOffsetDeleteRequestTopicPartition())
		off.Topics = append(off.Topics, ot)
	}
	resp := ask[*kmsg.OffsetDeleteResponse](n, off, 0)
	if resp.ErrorCode != 0 || resp.Topics[0].Partitions[0].ErrorCode != 86 || resp.Topics[1].Partitions[0].ErrorCode != 3 {
		t.Fatalf("%+v (member %s)", resp, member)
	}
}

func TestUnknownTopicsAndPartitions(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("t", 2)
	req := commitRequest("g", "", -1, topic, 5)
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, req.Topics[0].Partitions[0])
	req.Topics[0].Partitions[0].Partition = 2
	none := &broker.Topic{Name: "none", ID: [16]byte{9}}
	req.Topics = append(commitRequest("g", "", -1, none, 5).Topics, req.Topics...)
	for version, unknown := range map[int16]int16{5: 3, 10: 100} {
		resp := ask[*kmsg.OffsetCommitResponse](n, req, version)
		a, b, c := resp.Topics[0].Partitions[0], resp.Topics[1].Partitions[0], resp.Topics[1].Partitions[1]
		if a.ErrorCode != unknown || b.ErrorCode != 3 || c.ErrorCode != 0 {
			t.Fatalf("version %d: %+v", version, resp)
		}
	}
	if got := n.committed("g", none, 9); got != -1 {
		t.Fatalf("offset %d", got)
	}
	all := kmsg.NewPtrOffsetFetchRequest()
	all.Group = "g"
	resp := ask[*kmsg.OffsetFetchResponse](n, all, 7)
	if len(resp.Topics) != 1 || resp.Topics[0].Topic != "t" || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].Offset != 5 {
		t.Fatalf("%+v", resp)
	}

	// A topic that was made again is another one.
	if err := n.broker.DeleteTopic(context.Background(), "t"); err != nil {
		t.Fatal(err)
	}
	if got := n.committed("g", n.createTopic("t", 2), 9); got != -1 {
		t.Fatalf("offset %d of the topic that was deleted", got)
	}
}

func TestARestartIsNoRebalance(t *testing.T) {
	fs := vfs.NewMem()
	n := startGroupNode(t, fs, nil)
	topic := n.createTopic("t", 2)
	join := ask[*kmsg.JoinGroupResponse](n, joinRequest("g", ""), 3)
	ask[*kmsg.SyncGroupResponse](n, syncRequest("g", join.MemberID, 1), 5)
	if code := n.commit("g", join.MemberID, 1, topic, 42, 8); code != 0 {
		t.Fatalf("commit: %d", code)
	}
	after := fs.StrictClone() // the power goes: what was not synced is lost
	n.stop()

	n = startGroupNode(t, after, nil)
	defer n.stop()
	if code := n.heartbeat("g", join.MemberID, 1, 4); code != 0 {
		t.Fatalf("heartbeat after the power cut: %d", code)
	}
	if got := n.committed("g", topic, 10); got != 42 {
		t.Fatalf("offset after the power cut: %d", got)
	}
}

// TestAWaitingJoinDoesNotHoldUpShutdown also shows that nothing is left of a
// join whose client has gone.
func TestAWaitingJoinDoesNotHoldUpShutdown(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	first := ask[*kmsg.JoinGroupResponse](n, joinRequest("g", ""), 3)
	ask[*kmsg.SyncGroupResponse](n, syncRequest("g", first.MemberID, 1), 3)
	req := joinRequest("g", "") // waits for the first to join again
	req.SetVersion(3)
	send(t, n.conn, frameOf(req, 1))
	n.awaitGroup("g", "PreparingRebalance", 2)
	began := time.Now()
	n.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Fatalf("stopping took %v", took)
	}
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.SetVersion(3)
	receive(t, n.conn, resp)
	if resp.ErrorCode != codeNotCoordinator {
		t.Fatalf("%+v", resp)
	}
}

func TestRetentionForEver(t *testing.T) {
	for _, ms := range []int64{1 << 62, 1<<63 - 1, 1 << 50} {
		if d := retention(ms); d < 200*365*24*time.Hour {
			t.Errorf("%d ms come to %v", ms, d)
		}
	}
	if d := retention(1500); d != 1500*time.Millisecond {
		t.Error(d)
	}
}
