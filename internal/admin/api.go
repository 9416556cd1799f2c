package admin

import (
	"context"
	"encoding/json"
	"net/http"
)

// View is what the API shows of the node.
type View struct {
	Version     string // of Waybill
	Cluster     string // the cluster's name
	Node        string
	Listeners   []Listener
	Queues      func(context.Context) []Queue
	Connections func() []Connection
	Topics      func() int // number of topics
	Alarm       func() string
	Members     Cluster // nil: a node that cannot be part of a cluster
}

// Listener is an address that the node serves.
type Listener struct {
	Protocol string `json:"protocol"`
	Address  string `json:"ip_address"`
	Port     int    `json:"port"`
}

// Queue is one queue, in RabbitMQ's field names.
type Queue struct {
	Name       string         `json:"name"`
	VHost      string         `json:"vhost"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	Exclusive  bool           `json:"exclusive"`
	AutoDelete bool           `json:"auto_delete"`
	Arguments  map[string]any `json:"arguments"`
	State      string         `json:"state"` // running, or down while its log is held offline
	Ready      int            `json:"messages_ready"`
	Unacked    int            `json:"messages_unacknowledged"`
	Messages   int            `json:"messages"`
	Consumers  int            `json:"consumers"`
}

// Connection is one open AMQP connection, in RabbitMQ's field names.
type Connection struct {
	Name     string `json:"name"` // peer -> local
	User     string `json:"user"`
	VHost    string `json:"vhost"`
	Protocol string `json:"protocol"`
	PeerHost string `json:"peer_host"`
	PeerPort int    `json:"peer_port"`
	Channels int    `json:"channels"`
	State    string `json:"state"`

	AuthMechanism string `json:"auth_mechanism"`
	FrameMax      int    `json:"frame_max"`
	Timeout       int    `json:"timeout"`      // heartbeat, seconds
	ConnectedAt   int64  `json:"connected_at"` // ms since the Unix epoch
}

// totals are sums over all queues.
type totals struct {
	Ready    int `json:"messages_ready"`
	Unacked  int `json:"messages_unacknowledged"`
	Messages int `json:"messages"`
}

func (s *Server) overview(w http.ResponseWriter, r *http.Request) {
	v := s.view(w)
	if v == nil {
		return
	}
	var sum totals
	consumers, queues := 0, v.Queues(r.Context())
	for _, q := range queues {
		sum.Ready += q.Ready
		sum.Unacked += q.Unacked
		sum.Messages += q.Messages
		consumers += q.Consumers
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"product_name":    "Waybill",
		"product_version": v.Version,
		"cluster_name":    v.Cluster,
		"node":            v.Node,
		"listeners":       v.Listeners,
		"queue_totals":    sum,
		"object_totals": map[string]int{
			"queues":      len(queues),
			"consumers":   consumers,
			"connections": len(v.Connections()),
			"topics":      v.Topics(),
		},
		"alarm": v.Alarm(),
	})
}

func (s *Server) queues(w http.ResponseWriter, r *http.Request) {
	if v := s.view(w); v != nil {
		writeJSON(w, http.StatusOK, orEmpty(v.Queues(r.Context())))
	}
}

func (s *Server) connections(w http.ResponseWriter, _ *http.Request) {
	if v := s.view(w); v != nil {
		writeJSON(w, http.StatusOK, orEmpty(v.Connections()))
	}
}

// view returns the node's view; while there is none it answers the request.
func (s *Server) view(w http.ResponseWriter) *View {
	v := s.cfg.View()
	if v == nil {
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", "the node is starting")
	}
	return v
}

// orEmpty makes an empty list of a nil one, which JSON would show as null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be encoded: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // fails when the client is gone; nobody is left to tell
}
