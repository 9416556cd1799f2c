package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"waybill/internal/admin"
)

// fakeAPI answers as a node does, to alice only, and keeps what was asked last.
type fakeAPI struct {
	status admin.ClusterStatus
	asked  string
	code   int
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.asked = strings.TrimSpace(r.Method + " " + r.URL.Path + " " + string(body))
	if user, password, _ := r.BasicAuth(); user != "alice" || password != "secret" {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"not_authorized","reason":"who are you?"}`)
		return
	}
	if f.code != 0 {
		w.WriteHeader(f.code)
		_, _ = io.WriteString(w, `{"error":"conflict","reason":"node 3 is the last one"}`)
		return
	}
	var answer any = f.status
	switch {
	case r.Method == http.MethodPost:
		w.WriteHeader(http.StatusNoContent)
		return
	case r.URL.Path == "/api/cluster/groups":
		answer = []admin.ClusterGroup{{Log: 12, What: "queue orders in /", Leader: 2, Term: 5, Replicas: []uint64{1, 2, 3}, Live: -1}}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func healthy() admin.ClusterStatus {
	return admin.ClusterStatus{
		Cluster: "c1", Asked: 1, CatalogLeader: 2, Groups: 9,
		Nodes: []admin.ClusterNode{
			{ID: 1, Replica: 1, State: "active", Up: true, Address: "127.0.0.1:7200", Leaders: 5, Replicas: 9},
			{ID: 2, Replica: 4, State: "active", Up: true, Address: "127.0.0.1:7210", Leaders: 4, Replicas: 9},
		},
	}
}

func TestClusterCommands(t *testing.T) {
	api := &fakeAPI{status: healthy()}
	s := httptest.NewServer(api)
	defer s.Close()
	good := strings.Replace(s.URL, "http://", "http://alice:secret@", 1)
	for _, c := range []struct {
		args   string
		code   int
		asked  string
		output string
	}{
		{"status", exitOK, "GET /api/cluster", "127.0.0.1:7210"},
		{"status --json", exitOK, "GET /api/cluster", `"catalog_leader": 2`},
		{"groups", exitOK, "GET /api/cluster/groups", "queue orders in /  node 2  5     1,2,3     ?"},
		{"groups --json", exitOK, "GET /api/cluster/groups", `"log": 12`},
		{"add", exitOK, "GET /api/cluster", "--node-id 3 --cluster-listen HOST:PORT --join 127.0.0.1:7200,127.0.0.1:7210"},
		{"remove 3", exitOK, `POST /api/cluster/remove {"node":3}`, ""},
		{"replace 3", exitOK, `POST /api/cluster/replace {"node":3}`, ""},
		{"drain 3", exitOK, `POST /api/cluster/drain {"node":3,"undo":false}`, ""},
		{"drain 3 --undo", exitOK, `POST /api/cluster/drain {"node":3,"undo":true}`, ""},
		{"transfer 12 --to 3", exitOK, `POST /api/cluster/transfer {"log":12,"to":3}`, ""},
		{"rebalance", exitOK, `POST /api/cluster/rebalance {}`, ""},
		{"remove", exitUsage, "", "one node id is needed"},
		{"remove three", exitUsage, "", `"three" is not a node id`},
		{"transfer", exitUsage, "", "one log is needed"},
		{"status now", exitUsage, "", "unknown command"},
		{"status --url nonsense", exitUsage, "", "a URL is needed"},
		{"status --url " + s.URL, exitFailure, "GET /api/cluster", "who are you?"},
		{"status --url http://alice:secret@127.0.0.1:1", exitFailure, "", "--url names another one"},
	} {
		api.asked = ""
		args := append([]string{"cluster", "--url", good}, strings.Fields(c.args)...)
		code, stdout, stderr := run(t, "", args...)
		if code != c.code || api.asked != c.asked || !strings.Contains(stdout+stderr, c.output) {
			t.Errorf("cluster %s: code %d, asked %q\n%s%s", c.args, code, api.asked, stdout, stderr)
		}
		if strings.Contains(stdout+stderr, "secret") {
			t.Errorf("cluster %s prints the password", c.args)
		}
	}
	api.code = http.StatusConflict
	if code, _, stderr := run(t, "", "cluster", "remove", "3", "--url", good); code != exitFailure || !strings.Contains(stderr, "node 3 is the last one") {
		t.Errorf("a refusal: %d %s", code, stderr)
	}
}

// TestClusterStatusExitCode: a script sees trouble without reading.
func TestClusterStatusExitCode(t *testing.T) {
	for name, change := range map[string]func(*admin.ClusterStatus){
		"1 nodes are down":               func(s *admin.ClusterStatus) { s.Nodes[1].Up = false },
		"1 raft groups have no leader":   func(s *admin.ClusterStatus) { s.LeaderlessTotal, s.Leaderless = 1, []string{"topic t/0"} },
		"70 have fewer replicas than":    func(s *admin.ClusterStatus) { s.UnderReplicatedTotal, s.UnderReplicated = 70, []string{"topic t/0"} },
		"":                               func(s *admin.ClusterStatus) { s.Nodes[1].State = "removing" },
		"0 nodes are down, 2 raft group": func(s *admin.ClusterStatus) { s.LeaderlessTotal = 2 },
	} {
		api := &fakeAPI{status: healthy()}
		change(&api.status)
		s := httptest.NewServer(api)
		code, stdout, stderr := run(t, "", "cluster", "status", "--url", strings.Replace(s.URL, "http://", "http://alice:secret@", 1))
		s.Close()
		want := exitOK
		if name != "" {
			want = exitFailure
		}
		if code != want || !strings.Contains(stderr, name) {
			t.Errorf("%q: code %d\n%s%s", name, code, stdout, stderr)
		}
	}
}
