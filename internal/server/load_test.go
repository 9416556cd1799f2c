package server

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// writeConfig writes a configuration file and returns its name.
func writeConfig(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "waybill.toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const everyKind = `
data-dir = "/srv/waybill"

[amqp]
listen = ":5672"
frame-max = "64KiB"
heartbeat = "10s"

[kafka]
node.id = 2
num.partitions = 12
"auto.create.topics.enable" = false
log.retention.ms = 1000
log.retention.bytes = -1
offsets.retention.minutes = 60

[disk]
reserve = "10%"
wal-file-size = 16777216

[cluster]
node-id = 2
listen = "10.0.0.2:7200"
join = ["10.0.0.1:7200", "10.0.0.2:7200"]

[users.alice]
password-hash = "$pbkdf2-sha256$i=10000$c2FsdHNhbHQ$x"
`

func TestFile(t *testing.T) {
	c, warnings, err := Load(Sources{File: writeConfig(t, everyKind)})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	for what, ok := range map[string]bool{
		"data-dir":         c.DataDir == "/srv/waybill",
		"amqp.listen":      c.AMQP.Listen == ":5672",
		"frame-max":        c.AMQP.MaxFrame == 64<<10,
		"heartbeat":        c.AMQP.Heartbeat == 10*time.Second,
		"node.id":          c.Kafka.NodeID == 2,
		"num.partitions":   c.Kafka.NumPartitions == 12,
		"auto.create":      !c.Kafka.AutoCreateTopics,
		"retention.ms":     c.Kafka.TopicDefaults["retention.ms"] == "1000",
		"retention.bytes":  c.Kafka.TopicDefaults["retention.bytes"] == "-1",
		"offsets":          c.Kafka.OffsetsRetention == time.Hour,
		"reserve":          c.Disk.Reserve == Reserve{Percent: 10},
		"wal-file-size":    c.Disk.WALFileSize == 16<<20,
		"node-id":          c.Cluster.NodeID == 2,
		"join":             slices.Equal(c.Cluster.Join, []string{"10.0.0.1:7200", "10.0.0.2:7200"}),
		"alice":            strings.HasPrefix(c.Users["alice"], "$pbkdf2"),
		"default of kafka": c.Kafka.Listen == "127.0.0.1:9092",
	} {
		if !ok {
			t.Errorf("%s was not taken from the file: %+v", what, c)
		}
	}
}

func TestStrictness(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"unknown key", "\n[kafka]\nnum.partition = 3\n", `:3: unknown key "kafka.num.partition"`},
		{"unknown table", "\n\n[kafak]\nnum.partitions = 3\n", `:4: unknown key "kafak.num.partitions"`},
		{"unknown empty table", "\n\n[kafak]\n", `:3: unknown key "kafak"`},
		{"unknown top key", "data-dir = \"x\"\ndatadir = \"y\"\n", `:2: unknown key "datadir"`},
		{"unknown in inline table", "amqp = { listen = \":1\",\n  lisen = \":2\" }\n", `:1: unknown key "amqp.lisen"`},
		{"a table for a value", "[kafka.num.partitions]\nx = 1\n", `:2: unknown key "kafka.num.partitions.x"`},
		{"an empty table for a value", "[kafka.num.partitions]\n", `:1: key "kafka.num.partitions" needs an integer`},
		{"a value for a table", "kafka = 3\n", `:1: unknown key "kafka"`},
		{"twice", "[kafka]\nnum.partitions = 1\n\"num.partitions\" = 2\n", `stands on line`},
		{"twice the same", "[http]\nlisten = \":1\"\nlisten = \":2\"\n", `:3`},
		{"syntax", "[kafka]\nnum.partitions = = 3\n", ":2:"},
		{"integer wanted", "[kafka]\nnum.partitions = \"3\"\n", `:2: key "kafka.num.partitions" needs an integer`},
		{"integer, not float", "[kafka]\nnum.partitions = 3.0\n", `:2: key "kafka.num.partitions" needs an integer`},
		{"string wanted", "[amqp]\nlisten = 5672\n", `:2: key "amqp.listen" needs a string`},
		{"boolean wanted", "[http]\npprof = \"yes\"\n", `:2: key "http.pprof" needs true or false`},
		{"range", "[kafka]\nnum.partitions = 0\n", `:2: key "kafka.num.partitions": 0 is out of range, from 1 to`},
		{"overflow", "[kafka]\nconnections.max.idle.ms = 9223372036854775807\n", `out of range`},
		{"replicas", "[kafka]\ndefault.replication.factor = 32768\n", `out of range, from -1 to 32767`},
		{"address", "[amqp]\nlisten = \"localhost\"\n", `:2: key "amqp.listen": "localhost" is not an address`},
		{"port", "[amqp]\nlisten = \"localhost:70000\"\n", `no valid port`},
		{"advertised without host", "[kafka]\nadvertised = \":9092\"\n", `has no host`},
		{"size", "[amqp]\nmax-message-size = \"1 parsec\"\n", `is not a size`},
		{"duration", "[amqp]\nheartbeat = \"60\"\n", `is not a duration`},
		{"reserve", "[disk]\nreserve = \"100%\"\n", `is not a share`},
		{"list", "[cluster]\njoin = [1, 2]\n", `:2: key "cluster.join" needs an array of strings`},
		{"list of addresses", "[cluster]\njoin = [\"a:1\", \"b\"]\n", `"b" is not an address`},
		{"node id", "[cluster]\nnode-id = 0\n", `out of range, from 1 to`},
		{"join without listen", "[cluster]\njoin = \"a:1\"\n", `--cluster-listen`},
		{"half of TLS", "[cluster]\ntls-cert = \"a.crt\"\n", `belong together`},
		{"two node ids", "kafka.node.id = 2\n[cluster]\nlisten = \"127.0.0.1:7200\"\n", `leave it out`},
		{"nothing to advertise", "[cluster]\nlisten = \":7200\"\n", `--cluster-advertised`},
		{"word", "[log]\nformat = \"xml\"\n", `:2: key "log.format": "xml" is none of text, json`},
		{"user", "[users]\nalice = \"secret\"\n", `:2: unknown key "users.alice"`},
		{"user key", "[users.alice]\npassword = \"secret\"\n", `:2: unknown key "users.alice.password"`},
		{"user hash", "[users.alice]\npassword-hash = 1\n", `:2: key "users.alice.password-hash" needs a string`},
		{"contradiction", "[kafka]\ngroup.min.session.timeout.ms = 7000\ngroup.max.session.timeout.ms = 6000\n", `is above`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Load(Sources{File: writeConfig(t, c.file)})
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "none.toml")
	if _, _, err := Load(Sources{File: name}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v", err)
	}
}

// TestPrecedence sets an option by every subset of flag, environment and file,
// for every option.
func TestPrecedence(t *testing.T) {
	defaults := DefaultConfig()
	for _, o := range defaults.Options() {
		// Three values that the option takes, none of them its default.
		candidates := []string{"alpha", "beta", "gamma", "json", "debug", "warn", "error", "always", "never", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3",
			"9000", "9001", "9002", "1048577", "1048578", "1048579", "10000001", "10000002", "10000003", "true", "false", "11s", "12s", "13s", "1"}
		var values []string
		for _, v := range candidates {
			probe := DefaultConfig()
			opts := probe.Options()
			i := slices.IndexFunc(opts, func(p Option) bool { return p.Key == o.Key })
			if opts[i].parse(v) == nil && opts[i].Show() != o.Show() && o.kindTakes(v) {
				values = append(values, v)
			}
		}
		if len(values) == 0 {
			t.Errorf("no value found that %s takes", o.Key)
			continue
		}
		for mask := range 8 {
			from, want := Sources{}, o.Show()
			value := func(i int) string { return values[i%len(values)] }
			if mask&1 != 0 {
				from.File, want = writeConfig(t, tomlLine(o, value(0))), value(0)
			}
			if mask&2 != 0 {
				from.Env, want = []string{o.Env() + "=" + value(1)}, value(1)
			}
			if mask&4 != 0 && o.Flag != "" {
				from.Flags, want = map[string]string{o.Flag: value(2)}, value(2)
			}
			if mask != 0 {
				from.Env = append(from.Env, company(o.Key)...)
			}
			c, warnings, err := Load(from)
			if err != nil || len(warnings) > 0 {
				t.Errorf("%s, sources %03b: %v %v", o.Key, mask, err, warnings)
				continue
			}
			opts := c.Options()
			i := slices.IndexFunc(opts, func(p Option) bool { return p.Key == o.Key })
			got := opts[i].Show()
			ref := DefaultConfig()
			refs := ref.Options()
			if want != o.Show() {
				if err := refs[i].parse(want); err != nil {
					t.Fatal(err)
				}
			}
			if got != refs[i].Show() {
				t.Errorf("%s, sources %03b (flag, env, file): got %s, want %s", o.Key, mask, got, want)
			}
		}
	}
}

// company sets the options without which that one is refused.
func company(key string) (env []string) {
	switch key {
	case "cluster.join":
		return []string{"WAYBILL_CLUSTER_LISTEN=127.0.0.1:9"}
	case "cluster.tls-cert", "cluster.tls-key", "cluster.tls-ca":
		for _, other := range []string{"cert", "key", "ca"} {
			if key != "cluster.tls-"+other {
				env = append(env, "WAYBILL_TLS_"+strings.ToUpper(other)+"="+other)
			}
		}
	}
	return env
}

// kindTakes reports whether the text can be written in TOML for the option.
func (o Option) kindTakes(text string) bool {
	switch o.kind {
	case kindInteger:
		return text[0] >= '0' && text[0] <= '9'
	case kindBoolean:
		return text == "true" || text == "false"
	}
	return true
}

func tomlLine(o Option, text string) string {
	if o.kind == kindString || o.kind == kindSize || o.kind == kindList {
		text = `"` + text + `"`
	}
	return o.Key + " = " + text + "\n"
}

func TestEnvironment(t *testing.T) {
	env := func(e ...string) (Config, []string, error) { return Load(Sources{Env: e}) }

	c, warnings, err := env("HOME=/root", "WAYBILL_AMQP=127.0.0.1:1", "WAYBILL_SERVICE_HOST=10.0.0.1",
		"WAYBILL_USERS=alice:$a$b$c bob:$d$e$f")
	if err != nil || c.AMQP.Listen != "127.0.0.1:1" || c.Users["alice"] != "$a$b$c" || c.Users["bob"] != "$d$e$f" {
		t.Errorf("%+v %v", c, err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "WAYBILL_SERVICE_HOST") {
		t.Errorf("warnings: %q", warnings)
	}
	if _, _, err = env("WAYBILL_KAFKA_NUM_PARTITIONS=many"); err == nil || !strings.Contains(err.Error(), "WAYBILL_KAFKA_NUM_PARTITIONS") {
		t.Errorf("got %v", err)
	}
	if _, _, err = env("WAYBILL_USERS=alice"); !errors.Is(err, ErrConfig) {
		t.Errorf("got %v", err)
	}
	file := writeConfig(t, "data-dir = \"from-file\"\n")
	if c, _, err = env("WAYBILL_CONFIG=" + file); err != nil || c.DataDir != "from-file" {
		t.Errorf("%+v %v", c, err)
	}
}

func TestOptionNamesAreUnique(t *testing.T) {
	c := DefaultConfig()
	seen := map[string]string{configEnv: "the file", usersEnv: "the users"}
	for _, o := range c.Options() {
		for _, name := range []string{o.Key, o.Env(), "--" + o.Flag} {
			if other, ok := seen[name]; ok && name != "--" {
				t.Errorf("%s names %s and %s", name, other, o.Key)
			}
			seen[name] = o.Key
		}
	}
}

func TestSizes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1<<50).Draw(t, "n")
		if got, err := parseSize(formatSize(n)); err != nil || got != n {
			t.Fatalf("%d is written %q and read %d, %v", n, formatSize(n), got, err)
		}
	})
	for _, bad := range []string{"", "x", "-1", "1.5GiB", "9223372036854775807KiB", "MiB", "1 k"} {
		if n, err := parseSize(bad); err == nil {
			t.Errorf("%q is read as %d", bad, n)
		}
	}
}

// TestReserve checks that no disk is low by the size of its reserve alone.
func TestReserve(t *testing.T) {
	const MiB, GiB = 1 << 20, 1 << 30
	for _, c := range []struct{ disk, want uint64 }{
		{256 * MiB, 256 * MiB / 5}, {8 * GiB, 8 * GiB / 5}, {10 * GiB, 2 * GiB},
		{40 * GiB, 2 * GiB}, {1000 * GiB, 50 * GiB},
	} {
		if got := (Reserve{}).Of(c.disk); got/MiB != c.want/MiB {
			t.Errorf("the reserve of %d is %d, want %d", c.disk, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		disk := rapid.Uint64Range(64*MiB, 1<<50).Draw(t, "disk")
		used := (Reserve{}).Of(disk) + 4*uint64(walFileSize(disk))
		if used > disk/3 {
			t.Fatalf("of %d bytes, %d are taken before the first message", disk, used)
		}
	})
}

// FuzzFile feeds the loader with anything: it must not panic, and what it
// takes must be a configuration whose options are all valid.
func FuzzFile(f *testing.F) {
	f.Add([]byte(everyKind))
	f.Add([]byte("[users]\n\"a.b\".password-hash = \"x\"\n"))
	f.Add([]byte("kafka = { num = { partitions = 3 } }\n[[kafka.x]]\n"))
	f.Add([]byte("a = [1, {b = 2}]\nc = 1979-05-27\nd = inf"))
	f.Fuzz(func(t *testing.T, data []byte) {
		settings, err := parseFile(data)
		if err != nil {
			return
		}
		c := DefaultConfig()
		if err := c.applyFile(c.Options(), "fuzz.toml", settings); err != nil {
			if !errors.Is(err, ErrConfig) || strings.Contains(err.Error(), ":0: ") {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		opts := c.Options()
		for _, o := range opts {
			if text := o.Show(); text != "" && o.parse(text) != nil {
				t.Fatalf("%s has the value %s, which it does not take", o.Key, text)
			}
		}
	})
}
