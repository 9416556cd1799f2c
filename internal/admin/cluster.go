package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"
)

// Cluster is what the API asks about the cluster and does to it. The node
// that is asked may be any: it hands on what another one has to do.
//
// A change returns when it is decided, which is when the catalog has committed it; moving
// replicas and leaders goes on after that, and Status tells how far it is.
type Cluster interface {
	// Status is what this node knows; it asks no other one, so that it answers
	// when there is no majority.
	Status() ClusterStatus
	// Groups lists the raft groups, as this node knows them.
	Groups() []ClusterGroup
	// Remove takes a node out for good: its leaders move first, then its replicas.
	Remove(ctx context.Context, node uint64) error
	// Replace gives up the replicas of a node whose disk is lost, so that it may come
	// back with an empty one.
	Replace(ctx context.Context, node uint64) error
	// Drain moves all leaders off a node and keeps new ones away; undo lets them come back.
	Drain(ctx context.Context, node uint64, undo bool) error
	// Transfer moves the leadership of one log to a node, or to any other one when to is 0.
	Transfer(ctx context.Context, log, to uint64) error
	// Rebalance spreads replicas and leaders evenly again.
	Rebalance(ctx context.Context) error
}

// ErrUnknown is returned by a [Cluster] for a node or a log that there is none of.
var ErrUnknown = errors.New("admin: there is no such node or log")

// ClusterStatus is the state of the cluster, as one node sees it.
type ClusterStatus struct {
	Cluster       string        `json:"cluster"`        // its id
	Asked         uint64        `json:"asked"`          // the node that answers
	CatalogLeader uint64        `json:"catalog_leader"` // node; 0: none that is known
	Nodes         []ClusterNode `json:"nodes"`
	Groups        int           `json:"groups"`
	// Leaderless and UnderReplicated name raft groups, at most so many as a page shows;
	// the totals count all.
	Leaderless           []string `json:"leaderless"`
	LeaderlessTotal      int      `json:"leaderless_total"`
	UnderReplicated      []string `json:"under_replicated"`
	UnderReplicatedTotal int      `json:"under_replicated_total"`
}

// ClusterNode is one member.
type ClusterNode struct {
	ID       uint64 `json:"id"`
	Replica  uint64 `json:"replica"` // the id of its data directory
	State    string `json:"state"`   // joining, active, draining, removing
	Up       bool   `json:"up"`
	Address  string `json:"address"` // node to node
	AMQP     string `json:"amqp"`
	Kafka    string `json:"kafka"`
	HTTP     string `json:"http"`
	Leaders  int    `json:"leaders"`  // raft groups that it leads
	Replicas int    `json:"replicas"` // that it should hold, or shall give up and may be needed for still
}

// ClusterGroup is one raft group.
type ClusterGroup struct {
	Log      uint64   `json:"log"`
	What     string   `json:"what"`   // "queue orders in /", "topic clicks/3"
	Leader   uint64   `json:"leader"` // node; 0: none that is known
	Term     uint64   `json:"term"`
	Replicas []uint64 `json:"replicas"` // nodes that should hold it
	Live     int      `json:"live"`     // of them, with the newest data or nearly; -1: only its leader knows
}

// Limits of a change.
const (
	clusterPatience = 30 * time.Second // for the catalog to commit it
	maxClusterBody  = 4 << 10
)

// clusterChange is the body of a POST to /api/cluster/…; a verb reads what it needs.
type clusterChange struct {
	Node uint64 `json:"node"`
	To   uint64 `json:"to"`
	Log  uint64 `json:"log"`
	Undo bool   `json:"undo"`
}

// errChange marks a change that was not asked for in the right way.
var errChange = errors.New("bad request")

func (c clusterChange) needsNode() error {
	if c.Node == 0 {
		return errors.Join(errChange, errors.New(`say which node: {"node": 3}`))
	}
	return nil
}

// clusterVerbs are the changes that can be asked for.
var clusterVerbs = map[string]func(context.Context, Cluster, clusterChange) error{
	"remove": func(ctx context.Context, c Cluster, ch clusterChange) error {
		if err := ch.needsNode(); err != nil {
			return err
		}
		return c.Remove(ctx, ch.Node)
	},
	"replace": func(ctx context.Context, c Cluster, ch clusterChange) error {
		if err := ch.needsNode(); err != nil {
			return err
		}
		return c.Replace(ctx, ch.Node)
	},
	"drain": func(ctx context.Context, c Cluster, ch clusterChange) error {
		if err := ch.needsNode(); err != nil {
			return err
		}
		return c.Drain(ctx, ch.Node, ch.Undo)
	},
	"transfer": func(ctx context.Context, c Cluster, ch clusterChange) error {
		if ch.Log == 0 {
			return errors.Join(errChange, errors.New(`say which log: {"log": 12, "to": 3}`))
		}
		return c.Transfer(ctx, ch.Log, ch.To)
	},
	"rebalance": func(ctx context.Context, c Cluster, _ clusterChange) error { return c.Rebalance(ctx) },
}

func (s *Server) clusterStatus(w http.ResponseWriter, _ *http.Request) {
	if c := s.members(w); c != nil {
		status := c.Status()
		status.Nodes, status.Leaderless, status.UnderReplicated = orEmpty(status.Nodes), orEmpty(status.Leaderless), orEmpty(status.UnderReplicated)
		writeJSON(w, http.StatusOK, status)
	}
}

func (s *Server) clusterGroups(w http.ResponseWriter, _ *http.Request) {
	if c := s.members(w); c != nil {
		writeJSON(w, http.StatusOK, orEmpty(c.Groups()))
	}
}

// clusterChange answers POST /api/cluster/{verb}.
func (s *Server) clusterChange(w http.ResponseWriter, r *http.Request) {
	do := clusterVerbs[r.PathValue("verb")]
	if do == nil {
		refuse(w, http.StatusNotFound, "not_found", "there is remove, replace, drain, transfer and rebalance")
		return
	}
	change, err := readChange(w, r)
	if err != nil {
		refuse(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	c := s.members(w)
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), clusterPatience)
	defer cancel()
	user, _, _ := r.BasicAuth() // login has checked it
	err = do(ctx, c, change)
	s.cfg.Logger.Info("admin: the cluster is changed", "verb", r.PathValue("verb"),
		"node", change.Node, "to", change.To, "log", change.Log, "undo", change.Undo, "user", user, "err", err)
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, errChange):
		refuse(w, http.StatusBadRequest, "bad_request", err.Error())
	case errors.Is(err, ErrUnknown):
		refuse(w, http.StatusNotFound, "not_found", err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		refuse(w, http.StatusServiceUnavailable, "service_unavailable",
			"the catalog did not decide in time, and may still do so; look at the status: "+err.Error())
	default:
		refuse(w, http.StatusConflict, "conflict", err.Error())
	}
}

// readChange reads the body. It must say that it is JSON: a page in a browser that
// knows the password cannot send that to another site by itself.
func readChange(w http.ResponseWriter, r *http.Request) (change clusterChange, err error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return change, errors.New("send a JSON object, with Content-Type: application/json")
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxClusterBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&change); err != nil {
		return change, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return change, errors.New("send one JSON object")
	}
	return change, nil
}

// members returns the cluster; while there is none it answers the request.
func (s *Server) members(w http.ResponseWriter) Cluster {
	v := s.view(w)
	if v == nil {
		return nil
	}
	if v.Members == nil {
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", "this node is not part of a cluster")
		return nil
	}
	return v.Members
}
