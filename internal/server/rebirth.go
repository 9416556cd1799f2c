package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"waybill/internal/storage"
	"waybill/internal/vfs"
)

// A data directory whose catalog, checkpoint or identity is damaged may have
// forgotten anything that it has promised. A node of a cluster that finds its own so
// begins anew, as one does whose disk was replaced by hand:
//
//  1. It asks the nodes of --join to have its replica id given up. They do, when they
//     know it by the id of this very directory, and when every log that has a replica in it has a
//     majority of replicas elsewhere that are up to date. Until then it waits, and says for what.
//  2. It notes in the file REBUILD that this was done, and moves all there is to
//     the directory damaged, where it stays until an operator removes it.
//  3. It joins the cluster, with an empty directory and a new replica id. As long as there is
//     a REBUILD it never founds a cluster of its own.
//
// It can be cut off at any point: the next start finds out how far it came.
const (
	damagedDir  = "damaged"
	rebirthFile = "REBUILD" // in damagedDir
)

// rebirth is what the file holds, as JSON.
type rebirth struct {
	Store string `json:"store"` // the id of the directory that was given up
}

// errClusterFile: the file CLUSTER is damaged.
var errClusterFile = errors.New("this node cannot know any more who it is")

// beyondRepair reports whether a start has failed because the data directory is damaged as
// a whole, in a cluster that may have all of it elsewhere.
func beyondRepair(cfg *Config, err error) bool {
	return cfg.Cluster.Listen != "" && len(cfg.Cluster.Join) > 0 &&
		(errors.Is(err, storage.ErrDamaged) || errors.Is(err, errClusterFile))
}

// begunAnew reads the file; nil when there is none.
func (n *Node) begunAnew() (*rebirth, error) {
	text, err := readSmall(n.fs, path.Join(n.dir, damagedDir, rebirthFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var r rebirth
	if err == nil {
		err = json.Unmarshal([]byte(text), &r)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %s: %w", n.dir, rebirthFile, err)
	}
	return &r, nil
}

// beginAnew gives the node an empty data directory, when the others can do without the
// damaged one.
func (n *Node) beginAnew(ctx context.Context) error {
	lock, err := n.fs.Lock(path.Join(n.dir, "LOCK"))
	if err != nil {
		return fmt.Errorf("data directory %s: %w", n.dir, err)
	}
	defer lock.Close() //nolint:errcheck // nothing was written to it
	r, err := n.begunAnew()
	if err != nil {
		return err
	}
	if r == nil {
		if r, err = n.formerSelf(); err != nil {
			return err
		}
		if err := n.speakForFormer(ctx, r.Store); err != nil {
			return err
		}
		if err := n.noteRebirth(r); err != nil {
			return fmt.Errorf("data directory %s: %w", n.dir, err)
		}
	}
	n.anew = r
	return n.setAside(r)
}

// speakForFormer has the damaged directory given up, as nobody but it may ask for that.
func (n *Node) speakForFormer(ctx context.Context, store string) error {
	n.former = store
	err := n.openTransport()
	if err != nil {
		return err
	}
	err = n.askToBeGivenUp(ctx, store)
	err = errors.Join(err, n.links.transport.Close())
	n.links.transport, n.former, n.cfg.Cluster.listener = nil, "", nil
	return err
}

// formerSelf finds out who this node was, from what can be read of it.
func (n *Node) formerSelf() (*rebirth, error) {
	file, err := readClusterFile(n.fs, n.dir)
	if err == nil && file != nil {
		if file.Node != n.cfg.Cluster.NodeID {
			return nil, fmt.Errorf("data directory %s is that of node %d, and --node-id is %d", n.dir, file.Node, n.cfg.Cluster.NodeID)
		}
		return &rebirth{file.Store}, nil
	}
	id, err := storage.ReadID(n.fs, n.dir)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: neither %s nor STORE tells whose it was: remove it, and run `waybill cluster replace %d` on a live node: %w",
			n.dir, clusterFileName, n.cfg.Cluster.NodeID, err)
	}
	return &rebirth{id}, nil
}

// askToBeGivenUp asks until the cluster has given the directory up.
func (n *Node) askToBeGivenUp(ctx context.Context, store string) error {
	tick := time.NewTicker(foundingPause)
	defer tick.Stop()
	var logged time.Time
	var last string
	for {
		done, why, err := n.askAllToGiveUp(ctx, store)
		if done || err != nil {
			n.links.waits.Store(nil)
			return err
		}
		if ctx.Err() != nil && last != "" {
			why = last // nobody was heard out this time
		}
		last = why
		n.links.waits.Store(&why)
		if now := time.Now(); now.Sub(logged) >= foundingLog {
			logged = now
			n.log.Warn("waiting for the cluster to do without this damaged data directory", "why", why)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the data directory is damaged, and the cluster cannot do without it yet (%s): %w", why, context.Cause(ctx))
		}
	}
}

// askAllToGiveUp asks everyone once, until one has done it; why says what is missing.
func (n *Node) askAllToGiveUp(ctx context.Context, store string) (done bool, why string, err error) {
	q := joinRequest{Node: n.cfg.Cluster.NodeID, Store: store, Addr: n.links.addr, Lost: store}
	var missing []string
	for _, addr := range n.cfg.Cluster.Join {
		if addr == n.links.addr {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, admitTimeout)
		a, err := askJoin(limited, n.links.transport, addr, q)
		cancel()
		switch {
		case err != nil:
			missing = append(missing, fmt.Sprintf("no answer from %s (%v)", addr, err))
		case a.GivenUp:
			return true, "", nil
		case a.Refused != "":
			return false, "", fmt.Errorf("%w: %s", errRefused, a.Refused)
		case a.Wait != "":
			missing = append(missing, fmt.Sprintf("node %d: %s", a.Node, a.Wait))
		default:
			missing = append(missing, fmt.Sprintf("node %d is in no cluster", a.Node))
		}
	}
	if len(missing) == 0 {
		return false, "", errors.New("the data directory is damaged, and --join names no other node that could have what was in it")
	}
	return false, strings.Join(missing, "; "), nil
}

// noteRebirth makes it durable that the directory was given up.
func (n *Node) noteRebirth(r *rebirth) error {
	dir := path.Join(n.dir, damagedDir)
	if err := vfs.MakeDirs(n.fs, dir); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := path.Join(dir, rebirthFile)
	next := name + ".new"
	if err := n.fs.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := n.fs.Create(next)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := n.fs.Rename(next, name); err != nil {
		return err
	}
	return n.fs.SyncDir(dir)
}

// setAside moves the files of the directory that was given up to where an operator
// finds them. When the new one has been begun there is nothing left to move.
func (n *Node) setAside(r *rebirth) error {
	if id, err := storage.ReadID(n.fs, n.dir); err == nil && id != r.Store {
		return nil
	}
	names, err := n.fs.List(n.dir)
	if err != nil {
		return err
	}
	to, err := n.asideDir(r.Store)
	if err != nil {
		return err
	}
	for _, name := range names {
		if slices.Contains([]string{"LOCK", damagedDir, "lost+found"}, name) {
			continue
		}
		if err := n.fs.Rename(path.Join(n.dir, name), path.Join(to, name)); err != nil {
			return err
		}
	}
	if err := errors.Join(n.fs.SyncDir(to), n.fs.SyncDir(n.dir)); err != nil {
		return err
	}
	n.log.Warn("the damaged data directory was set aside; remove it when it is of no use any more", "to", to)
	return nil
}

// asideDir makes a directory for what was of a store.
func (n *Node) asideDir(store string) (string, error) {
	for i := 1; ; i++ {
		dir := path.Join(n.dir, damagedDir, fmt.Sprintf("%s.%d", store, i))
		if _, err := n.fs.Stat(dir); err == nil {
			continue
		}
		return dir, vfs.MakeDirs(n.fs, dir)
	}
}

// reborn ends it: the node is a member again, under a new replica id.
func (n *Node) reborn() error {
	dir := path.Join(n.dir, damagedDir)
	if err := n.fs.Remove(path.Join(dir, rebirthFile)); err != nil {
		return err
	}
	return n.fs.SyncDir(dir)
}
