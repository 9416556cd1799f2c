package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// fakeCluster notes the changes that it is asked for.
type fakeCluster struct {
	did []string
	err error
}

func (f *fakeCluster) do(format string, args ...any) error {
	f.did = append(f.did, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fakeCluster) Status() ClusterStatus {
	return ClusterStatus{Cluster: "c", Asked: 2, CatalogLeader: 1, Nodes: []ClusterNode{{ID: 1, Up: true, State: "active"}, {ID: 2}}}
}
func (f *fakeCluster) Groups() []ClusterGroup { return nil }
func (f *fakeCluster) Remove(_ context.Context, node uint64) error {
	return f.do("remove %d", node)
}
func (f *fakeCluster) Replace(_ context.Context, node uint64) error {
	return f.do("replace %d", node)
}
func (f *fakeCluster) Drain(_ context.Context, node uint64, undo bool) error {
	return f.do("drain %d %v", node, undo)
}
func (f *fakeCluster) Transfer(_ context.Context, log, to uint64) error {
	return f.do("transfer %d %d", log, to)
}
func (f *fakeCluster) Rebalance(context.Context) error { return f.do("rebalance") }

// post sends a body as alice and returns the answer.
func (n *node) post(t *testing.T, path, contentType, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("alice", "wonderland")
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

func TestClusterChanges(t *testing.T) {
	n := start(t, false)
	fake := &fakeCluster{}
	for _, c := range []struct {
		path, kind, body string
		err              error
		code             int
		did              string
	}{
		{"remove", "application/json", `{"node":3}`, nil, 204, "remove 3"},
		{"remove", "application/json", `{}`, nil, 400, ""},
		{"remove", "text/plain", `{"node":3}`, nil, 400, ""},
		{"remove", "application/json", `{"nodes":3}`, nil, 400, ""},
		{"remove", "application/json", `{"node":3}{}`, nil, 400, ""},
		{"remove", "application/json", `{"node":` + strings.Repeat(" ", maxClusterBody) + `3}`, nil, 400, ""},
		{"remove", "application/json", `{"node":9}`, fmt.Errorf("%w: node 9", ErrUnknown), 404, "remove 9"},
		{"remove", "application/json", `{"node":1}`, errors.New("it is the last one"), 409, "remove 1"},
		{"remove", "application/json", `{"node":1}`, context.DeadlineExceeded, 503, "remove 1"},
		{"replace", "application/json; charset=utf-8", `{"node":3}`, nil, 204, "replace 3"},
		{"drain", "application/json", `{"node":3}`, nil, 204, "drain 3 false"},
		{"drain", "application/json", `{"node":3,"undo":true}`, nil, 204, "drain 3 true"},
		{"transfer", "application/json", `{"log":7,"to":2}`, nil, 204, "transfer 7 2"},
		{"transfer", "application/json", `{"to":2}`, nil, 400, ""},
		{"rebalance", "application/json", `{}`, nil, 204, "rebalance"},
		{"explode", "application/json", `{}`, nil, 404, ""},
	} {
		fake.did, fake.err = nil, c.err
		v := testView()
		v.Members = fake
		n.view.Store(v)
		code, body := n.post(t, "/api/cluster/"+c.path, c.kind, c.body)
		if code != c.code || strings.Join(fake.did, ";") != c.did {
			t.Errorf("%s %.40s: %d %s, did %q", c.path, c.body, code, body, fake.did)
		}
		if c.err != nil && !strings.Contains(body, c.err.Error()) {
			t.Errorf("%s %s: the answer does not say why: %s", c.path, c.body, body)
		}
	}
}

func TestClusterStatus(t *testing.T) {
	n := start(t, false)
	v := testView()
	v.Members = nil
	n.view.Store(v)
	if code, body, _ := n.get(t, "/api/cluster", "alice", "wonderland"); code != 503 || !strings.Contains(body, "not part of a cluster") {
		t.Errorf("without a cluster: %d %s", code, body)
	}
	n.view.Store(testView())
	_, body, _ := n.get(t, "/api/cluster", "alice", "wonderland")
	var got ClusterStatus
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Cluster != "c" || len(got.Nodes) != 2 || !got.Nodes[0].Up || !strings.Contains(body, `"leaderless":[]`) {
		t.Errorf("%s", body)
	}
	if _, body, _ = n.get(t, "/api/cluster/groups", "alice", "wonderland"); body != "[]\n" {
		t.Errorf("groups: %s", body)
	}
}
