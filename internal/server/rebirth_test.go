package server

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"waybill/internal/broker"
	"waybill/internal/vfs"
)

// rot damages all files of a directory of a node that does not run.
func (n *testNode) rot(t *testing.T, dir string) {
	t.Helper()
	names, err := n.fs.List(path.Join("/data", dir))
	if err != nil || len(names) == 0 {
		t.Fatalf("there is nothing in %s to damage: %v", dir, err)
	}
	for _, name := range names {
		if err := n.fs.Rot(path.Join("/data", dir, name), 1, 5000); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *testCluster) allUpToDate() {
	c.t.Helper()
	c.eventually("all replicas are up to date", func() error {
		for _, n := range c.nodes {
			if s := (members{n.Node}).Status(); s.UnderReplicatedTotal > 0 || len(s.Nodes) != len(c.nodes) {
				return fmt.Errorf("node %d: %v", n.id, s.UnderReplicated)
			}
		}
		return nil
	})
}

// TestDamagedDirectory: a node whose WAL, or whose checkpoint, is damaged begins
// anew by itself when it is started: it gets another replica id, and copies all
// back. What was damaged is kept aside. Afterwards another node may die.
func TestDamagedDirectory(t *testing.T) {
	for _, dir := range []string{"wal", "checkpoint"} {
		t.Run(dir, func(t *testing.T) {
			c := newCluster(t, 3)
			conn, ch := dial(t, c.nodes[1].Node)
			declare(t, ch, "letters")
			conn.Close()
			publishAll(t, c.nodes[1].Node, "letters", 0, 100)
			old := c.nodes[3].store.ID()
			c.halt(3)
			c.nodes[3].rot(t, dir)
			publishAll(t, c.nodes[1].Node, "letters", 100, 150)

			c.start(3)
			if file := c.nodes[3].links.file.Load(); file.Replica != 4 || file.Store == old {
				t.Errorf("it came back as replica %d of the directory %s", file.Replica, file.Store)
			}
			if _, err := c.nodes[3].fs.Stat(path.Join("/data", damagedDir, old+".1", dir)); err != nil {
				t.Errorf("what was damaged is not kept: %v", err)
			}
			if r, err := c.nodes[3].begunAnew(); r != nil || err != nil {
				t.Errorf("it is noted still that it begins anew: %+v, %v", r, err)
			}
			c.allUpToDate()
			c.kill(1)
			c.awaitOther(2, "letters", 1)
			publishAll(t, c.nodes[2].Node, "letters", 150, 200)
			c.start(1)
			consumeAll(t, c.nodes[3].Node, "letters", 200)
		})
	}
}

// TestDamagedDirectoryThatIsNeeded: the only copy of something is in a damaged
// directory. It is not given up, and the node says why, until an operator decides.
func TestDamagedDirectoryThatIsNeeded(t *testing.T) {
	c := newCluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.nodes[1].broker.CreateTopic(ctx, broker.TopicSpec{Name: "single", Partitions: 3, ReplicationFactor: 1}, false); err != nil {
		t.Fatal(err)
	}
	c.halt(3)
	c.nodes[3].rot(t, "wal")
	before, err := c.nodes[3].fs.List("/data")
	if err != nil {
		t.Fatal(err)
	}

	addr := asideAddr(t)
	c.setup = func(cfg *Config) {
		if cfg.Cluster.NodeID == 3 {
			cfg.HTTP.Listen = addr
		}
	}
	patient, giveUp := context.WithCancel(ctx)
	defer giveUp()
	ended := make(chan error, 1)
	go func() { ended <- c.try(patient, 3) }()
	c.eventually("it says what it waits for", func() error { return unready(addr, "has no other replica") })
	giveUp()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "has no other replica") {
		t.Fatalf("a directory with the only copy of a partition: %v", err)
	}
	if names, err := c.nodes[3].fs.List("/data"); err != nil || len(names) < len(before) {
		t.Errorf("the directory had %v, now %v (%v)", before, names, err)
	}

	if err := c.nodes[1].broker.ReplaceNode(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if err := c.try(ctx, 3); err != nil { // it is not ready: one log is lost
		t.Fatal(err)
	}
	if file := c.nodes[3].links.file.Load(); file.Replica != 4 {
		t.Errorf("it came back as replica %d", file.Replica)
	}
}

// TestDamagedDirectoryOfOne: who has no other node does not wait for one.
func TestDamagedDirectoryOfOne(t *testing.T) {
	c := newCluster(t, 1)
	c.halt(1)
	c.nodes[1].rot(t, "wal")
	if err := c.try(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "names no other node") {
		t.Fatalf("got %v", err)
	}
	if names, err := c.nodes[1].fs.List("/data/wal"); err != nil || len(names) == 0 {
		t.Errorf("left are %v, %v", names, err)
	}
}

// TestRebirthIsCutOff: the power fails at any sync while a node begins anew. The
// next start goes on from there: nothing is lost of what was set aside, no cluster
// is founded, and the directory is empty in the end.
func TestRebirthIsCutOff(t *testing.T) {
	files := []string{"CLUSTER", "STORE", "wal/1", "seg/2", "checkpoint/3"}
	begin := func(fs *vfs.Mem) *Node {
		n := &Node{fs: fs, dir: "/data", log: testLog(t)}
		if err := vfs.MakeDirs(fs, "/data"); err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := vfs.NewMem()
	n := begin(first)
	for _, name := range files {
		name = path.Join("/data", name)
		if err := vfs.MakeDirs(first, path.Dir(name)); err != nil {
			t.Fatal(err)
		}
		f, err := first.Create(name)
		if err == nil {
			err = f.Sync()
		}
		if err == nil {
			err = f.Close()
		}
		if err == nil {
			err = first.SyncDir(path.Dir(name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := first.SyncDir("/data"); err != nil {
		t.Fatal(err)
	}
	r := &rebirth{Store: "old"}
	if err := n.noteRebirth(r); err != nil {
		t.Fatal(err)
	}
	var crashed []*vfs.Mem
	first.OnSync(func(vfs.SyncPoint) { crashed = append(crashed, first.CrashClone(uint64(len(crashed)))) })
	if err := n.setAside(r); err != nil {
		t.Fatal(err)
	}
	first.OnSync(nil)
	crashed = append(crashed, first.CrashClone(99))
	for i, fs := range crashed {
		n := begin(fs)
		r, err := n.begunAnew()
		if err != nil || r == nil || r.Store != "old" {
			t.Fatalf("crash %d: %+v, %v", i, r, err)
		}
		if err := n.setAside(r); err != nil {
			t.Fatalf("crash %d: %v", i, err)
		}
		left, err := fs.List("/data")
		if err != nil || !slices.Equal(left, []string{damagedDir}) {
			t.Errorf("crash %d: left are %v, %v", i, left, err)
		}
		var kept []string
		dirs, err := fs.List(path.Join("/data", damagedDir))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			if dir != rebirthFile {
				kept = append(kept, tree(t, fs, path.Join("/data", damagedDir, dir), "")...)
			}
		}
		slices.Sort(kept)
		want := slices.Sorted(slices.Values(files))
		if !slices.Equal(slices.Compact(kept), want) {
			t.Errorf("crash %d: kept are %v, not %v", i, kept, want)
		}
	}
}

// tree lists the files of a directory.
func tree(t *testing.T, fs *vfs.Mem, dir, prefix string) (files []string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		fi, err := fs.Stat(path.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if fi.IsDir() {
			files = append(files, tree(t, fs, path.Join(dir, name), path.Join(prefix, name))...)
		} else {
			files = append(files, path.Join(prefix, name))
		}
	}
	return files
}
