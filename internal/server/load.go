package server

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// Sources are the places that a configuration comes from.
type Sources struct {
	File  string            // name of the TOML file; "": WAYBILL_CONFIG, or none
	Env   []string          // as os.Environ returns it
	Flags map[string]string // flag → value, of those that were given
}

// Load returns the configuration that the sources give: a flag beats the
// environment, which beats the file, which beats the default. An unknown key,
// or a value that cannot be, is an error that names the place; what is only
// odd is told in warnings.
func Load(from Sources) (c Config, warnings []string, err error) {
	c = DefaultConfig()
	options := c.Options()
	env := environment(from.Env)

	file := from.File
	if file == "" {
		file = env[configEnv]
	}
	delete(env, configEnv)
	if file != "" {
		settings, err := readFile(file)
		if err != nil {
			return Config{}, nil, err
		}
		if err := c.applyFile(options, file, settings); err != nil {
			return Config{}, nil, err
		}
	}
	if warnings, err = c.applyEnv(options, env); err != nil {
		return Config{}, nil, err
	}
	if err := applyFlags(options, from.Flags); err != nil {
		return Config{}, nil, err
	}
	return c, warnings, c.check()
}

const (
	configEnv = envPrefix + "CONFIG"
	usersEnv  = envPrefix + "USERS"
)

// applyFile sets what stands in a file.
func (c *Config) applyFile(options []Option, file string, settings []setting) error {
	seen := map[string]int{}
	for _, s := range settings {
		err := c.applySetting(options, &s)
		if line, twice := seen[s.key()]; twice && err == nil {
			err = fmt.Errorf("key %q stands on line %d already", s.key(), line)
		}
		if err != nil {
			return fmt.Errorf("%w: %s:%d: %w", ErrConfig, file, s.line, err)
		}
		seen[s.key()] = s.line
	}
	return nil
}

func (c *Config) applySetting(options []Option, s *setting) error {
	if s.path[0] == "users" {
		return c.applyUser(s)
	}
	key := s.key()
	i := slices.IndexFunc(options, func(o Option) bool { return o.Key == key })
	if i < 0 {
		if table, ok := s.value.(map[string]any); ok && len(table) == 0 && isTable(options, key) {
			return nil // an empty [kafka] says nothing, and is not wrong
		}
		return fmt.Errorf("unknown key %q", key)
	}
	text, ok := options[i].kind.text(s.value)
	if !ok {
		return fmt.Errorf("key %q %s", key, options[i].kind.needs())
	}
	if err := options[i].parse(text); err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	return nil
}

// isTable reports whether the options have a table of that name.
func isTable(options []Option, name string) bool {
	return slices.ContainsFunc(options, func(o Option) bool { return strings.HasPrefix(o.Key, name+".") })
}

// applyUser takes users.NAME.password-hash.
func (c *Config) applyUser(s *setting) error {
	if len(s.path) == 1 {
		if table, ok := s.value.(map[string]any); ok && len(table) == 0 {
			return nil
		}
	}
	if len(s.path) != 3 || s.path[2] != "password-hash" {
		return fmt.Errorf(`unknown key %q (a user is written as users.NAME.password-hash = "...")`, s.key())
	}
	hash, ok := s.value.(string)
	if !ok {
		return fmt.Errorf("key %q needs a string", s.key())
	}
	c.Users[s.path[1]] = hash
	return nil
}

// environment picks the node's own variables.
func environment(env []string) map[string]string {
	own := map[string]string{}
	for _, e := range env {
		if name, text, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, envPrefix) {
			own[name] = text
		}
	}
	delete(own, "WAYBILL_URL") // of the commands that ask a node over HTTP
	return own
}

// applyEnv sets what stands in the environment. An unknown variable is no
// error but a warning: the prefix is not ours alone (Kubernetes makes variables
// like WAYBILL_SERVICE_HOST for a service with that name).
func (c *Config) applyEnv(options []Option, env map[string]string) (warnings []string, err error) {
	for _, o := range options {
		text, ok := env[o.Env()]
		if !ok {
			continue
		}
		delete(env, o.Env())
		if err := o.parse(text); err != nil {
			return nil, fmt.Errorf("%w: environment variable %s: %w", ErrConfig, o.Env(), err)
		}
	}
	for _, user := range strings.Fields(env[usersEnv]) {
		name, hash, ok := strings.Cut(user, ":")
		if !ok {
			return nil, fmt.Errorf("%w: environment variable %s: %q is not NAME:HASH", ErrConfig, usersEnv, name)
		}
		c.Users[name] = hash
	}
	delete(env, usersEnv)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		warnings = append(warnings, "environment variable "+name+" is none of this broker's, and has no effect")
	}
	return warnings, nil
}

func applyFlags(options []Option, flags map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		i := slices.IndexFunc(options, func(o Option) bool { return o.Flag == name && name != "" })
		if i < 0 {
			return fmt.Errorf("%w: unknown flag --%s", ErrConfig, name)
		}
		if err := options[i].parse(flags[name]); err != nil {
			return fmt.Errorf("%w: flag --%s: %w", ErrConfig, name, err)
		}
	}
	return nil
}

// check refuses settings that contradict each other.
func (c *Config) check() error {
	if lo, hi := c.Kafka.GroupMinSessionTimeout, c.Kafka.GroupMaxSessionTimeout; lo > hi {
		return fmt.Errorf("%w: kafka.group.min.session.timeout.ms (%d) is above kafka.group.max.session.timeout.ms (%d)",
			ErrConfig, lo.Milliseconds(), hi.Milliseconds())
	}
	if id := uint64(c.Kafka.NodeID); id != 0 && c.Cluster.Listen != "" && id != c.Cluster.NodeID {
		return fmt.Errorf("%w: kafka.node.id is %d, but in a cluster it is --node-id, which is %d: leave it out", ErrConfig, id, c.Cluster.NodeID)
	}
	return c.Cluster.check()
}

func (c *ClusterConfig) check() error {
	files := 0
	for _, name := range []string{c.Cert, c.Key, c.CA} {
		if name != "" {
			files++
		}
	}
	host, _, _ := net.SplitHostPort(c.Listen) // the option has checked it
	ip := net.ParseIP(host)
	switch {
	case files != 0 && files != 3:
		return fmt.Errorf("%w: cluster.tls-cert, cluster.tls-key and cluster.tls-ca belong together: give all three, or none", ErrConfig)
	case c.Listen == "" && len(c.Join) > 0:
		return fmt.Errorf("%w: --join needs --cluster-listen too: the other nodes must reach this one", ErrConfig)
	case c.Listen == "":
		return nil
	case c.Advertised == "" && (host == "" || ip != nil && ip.IsUnspecified()):
		return fmt.Errorf("%w: the other nodes cannot be told %q as this one's address: add --cluster-advertised host:port", ErrConfig, c.Listen)
	}
	return nil
}
