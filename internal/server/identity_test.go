package server

import (
	"errors"
	"strings"
	"testing"

	"waybill/internal/vfs"
)

// TestNodeKeepsItsNumber: a data directory belongs to one node.
func TestNodeKeepsItsNumber(t *testing.T) {
	fs, c := vfs.NewMem(), testConfig("/data")
	c.Cluster.NodeID = 4
	n := startNode(t, fs, c)
	id := n.broker.ClusterID()
	stopNode(t, n)
	file, err := readClusterFile(fs, "/data")
	if err != nil || file.Node != 4 || file.Replica != 4 || file.Cluster != id || file.Store == "" {
		t.Fatalf("the file says %+v, %v; the cluster is %s", file, err, id)
	}
	stopNode(t, startNode(t, fs, c))
	c.Cluster.NodeID = 5
	if _, err := startOn(t.Context(), fs, c, testLog(t)); err == nil || !strings.Contains(err.Error(), "that of node 4") {
		t.Errorf("as node 5: %v", err)
	}
}

// TestDirectoryFromBeforeClusters starts on a data directory without the file.
func TestDirectoryFromBeforeClusters(t *testing.T) {
	fs, c := vfs.NewMem(), testConfig("/data")
	n := startNode(t, fs, c)
	_, ch := dial(t, n)
	declare(t, ch, "letters")
	publish(t, ch, "letters", "dear reader")
	id := n.broker.ClusterID()
	stopNode(t, n)
	if err := fs.Remove("/data/" + clusterFileName); err != nil {
		t.Fatal(err)
	}
	c.Cluster.NodeID = 2
	if _, err := startOn(t.Context(), fs, c, testLog(t)); err == nil || !strings.Contains(err.Error(), "single node, which has the number 1") {
		t.Errorf("as node 2: %v", err)
	}
	c.Cluster.NodeID = 1
	n = startNode(t, fs, c)
	conn, ch := dial(t, n)
	if d, ok, err := ch.Get("letters", true); err != nil || !ok || string(d.Body) != "dear reader" {
		t.Errorf("got %q, %v, %v", d.Body, ok, err)
	}
	conn.Close()
	stopNode(t, n)
	if file, err := readClusterFile(fs, "/data"); err != nil || file == nil || file.Cluster != id {
		t.Errorf("the file says %+v, %v; the cluster is %s", file, err, id)
	}
}

// TestForeignDirectories: a file that is not this directory's, or that asks for what is not configured.
func TestForeignDirectories(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*clusterFile)
		want  string
	}{
		"of another directory": {func(f *clusterFile) { f.Store = "another" }, "was it copied?"},
		"of a larger cluster":  {func(f *clusterFile) { f.Founders = append(f.Founders, member{2, 2, "x", "a:1"}) }, "--cluster-listen"},
	} {
		t.Run(name, func(t *testing.T) {
			fs, cfg := vfs.NewMem(), testConfig("/data")
			stopNode(t, startNode(t, fs, cfg))
			file, err := readClusterFile(fs, "/data")
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(file)
			if err := file.write(fs, "/data"); err != nil {
				t.Fatal(err)
			}
			if _, err := startOn(t.Context(), fs, cfg, testLog(t)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestCertificatesThatCannotBe: they are an error of the configuration.
func TestCertificatesThatCannotBe(t *testing.T) {
	cfg := testConfig("/data")
	cfg.Cluster.Listen, cfg.Cluster.Cert, cfg.Cluster.Key, cfg.Cluster.CA = "127.0.0.1:0", "/none.crt", "/none.key", "/none.ca"
	if _, err := startOn(t.Context(), vfs.NewMem(), cfg, testLog(t)); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "/none.crt") {
		t.Errorf("got %v", err)
	}
}
