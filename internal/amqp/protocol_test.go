package amqp

import (
	"slices"
	"strings"
	"testing"
	"time"

	"waybill/internal/amqp/spec"
	"waybill/internal/record"
)

func TestProtocolHeader(t *testing.T) {
	n := startNode(t, nil)
	for _, in := range []string{"AMQP\x00\x01\x00\x00", "AMQP\x00\x00\x09\x00", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc"} {
		c := n.raw(t)
		c.write([]byte(in))
		got := make([]byte, 8)
		if _, err := readFull(c, got); err != nil || string(got) != string(protocolHeader) {
			t.Errorf("%q: answered %q, %v", in, got, err)
		}
		c.expectEOF()
	}
}

func readFull(c *rawClient, b []byte) (int, error) {
	for n := 0; n < len(b); {
		m, err := c.f.r.Read(b[n:])
		if err != nil {
			return n, err
		}
		n += m
	}
	return len(b), nil
}

func TestServerProperties(t *testing.T) {
	c := startNode(t, nil).raw(t)
	c.write(protocolHeader)
	var m spec.ConnectionStart
	c.expect(&m)
	capabilities, _ := m.ServerProperties["capabilities"].(record.Table)
	for _, name := range []string{
		"publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
		"connection.blocked", "consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to",
	} {
		if capabilities[name] != true {
			t.Errorf("capability %s is missing", name)
		}
	}
	if m.ServerProperties["product"] != "RabbitMQ" || m.Mechanisms != "PLAIN AMQPLAIN" || m.VersionMinor != 9 {
		t.Errorf("start: %+v", m)
	}
}

func TestLogin(t *testing.T) {
	n := startNode(t, nil)
	t.Run("AMQPLAIN", func(t *testing.T) {
		c := n.raw(t)
		c.write(protocolHeader)
		c.expect(&spec.ConnectionStart{})
		b, err := record.Table{"LOGIN": "guest", "PASSWORD": "guest"}.Append(nil)
		must(t, err)
		c.send(0, &spec.ConnectionStartOK{Mechanism: "AMQPLAIN", Response: string(b[4:]), Locale: "en_US"})
		c.expect(&spec.ConnectionTune{})
	})
	t.Run("refused with a word", func(t *testing.T) {
		c := n.raw(t)
		c.write(protocolHeader)
		c.expect(&spec.ConnectionStart{})
		c.send(0, startOK("guest", "wrong", allCapabilities))
		if text := c.expectClose(spec.AccessRefused); !strings.HasPrefix(text, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN") {
			t.Errorf("text %q", text)
		}
	})
	t.Run("refused without a word", func(t *testing.T) {
		c := n.raw(t)
		c.write(protocolHeader)
		c.expect(&spec.ConnectionStart{})
		c.send(0, startOK("guest", "wrong", nil))
		c.expectEOF()
	})
	for name, m := range map[string]*spec.ConnectionStartOK{
		"unknown mechanism":     {Mechanism: "EXTERNAL"},
		"PLAIN without NUL":     {Mechanism: "PLAIN", Response: "guest guest"},
		"PLAIN for another":     {Mechanism: "PLAIN", Response: "other\x00guest\x00guest"},
		"AMQPLAIN not a table":  {Mechanism: "AMQPLAIN", Response: "\x05LOGIN"},
		"AMQPLAIN without both": {Mechanism: "AMQPLAIN", Response: "\x05LOGINS\x00\x00\x00\x01x"},
	} {
		t.Run(name, func(t *testing.T) {
			c := n.raw(t)
			c.write(protocolHeader)
			c.expect(&spec.ConnectionStart{})
			c.send(0, m)
			code := uint16(spec.SyntaxError)
			if name == "unknown mechanism" {
				code = spec.CommandInvalid
			}
			c.expectClose(code)
		})
	}
}

func TestTune(t *testing.T) {
	n := startNode(t, nil)
	for _, c := range []struct {
		ok   spec.ConnectionTuneOK
		text string // of the refusal
	}{
		{ok: spec.ConnectionTuneOK{}},
		{ok: spec.ConnectionTuneOK{ChannelMax: 1, FrameMax: 8192}},
		{ok: spec.ConnectionTuneOK{FrameMax: 4096}, text: "NOT_ALLOWED - negotiated frame_max = 4096 is lower than the minimum allowed value (8192)"},
		{ok: spec.ConnectionTuneOK{FrameMax: 131073}, text: "NOT_ALLOWED - negotiated frame_max = 131073 is higher than the maximum allowed value (131072)"},
		{ok: spec.ConnectionTuneOK{ChannelMax: 2048}, text: "NOT_ALLOWED - negotiated channel_max = 2048 is higher than the maximum allowed value (2047)"},
	} {
		raw := n.raw(t)
		raw.login()
		raw.send(0, &c.ok, &spec.ConnectionOpen{VirtualHost: "/"})
		if c.text == "" {
			raw.expect(&spec.ConnectionOpenOK{})
		} else if text := raw.expectClose(spec.NotAllowed); text != c.text {
			t.Errorf("%+v: %q", c.ok, text)
		}
	}
	raw := n.raw(t)
	raw.login()
	raw.send(0, &spec.ConnectionTuneOK{}, &spec.ConnectionOpen{VirtualHost: "nowhere"})
	raw.expectClose(spec.NotAllowed)
}

func TestUnlimitedFramesOfAClient(t *testing.T) {
	n := startNode(t, nil)
	c := n.raw(t)
	c.login()
	c.send(0, &spec.ConnectionTuneOK{}, &spec.ConnectionOpen{VirtualHost: "/"})
	c.expect(&spec.ConnectionOpenOK{})
	c.send(1, &spec.ChannelOpen{}, &spec.QueueDeclare{Queue: "q", Exclusive: true})
	c.expect(&spec.ChannelOpenOK{})
	c.expect(&spec.QueueDeclareOK{})
	b := appendMethod(nil, 1, &spec.BasicPublish{RoutingKey: []byte("q")})
	body := strings.Repeat("x", 1<<20)
	c.write(appendContent(b, 1, 2<<20, &record.Message{Properties: []byte{0, 0}, Body: []byte(body)}))
	c.send(1, &spec.BasicGet{Queue: "q", NoAck: true})
	c.expect(&spec.BasicGetOK{})
}

func TestHandshakeTimeout(t *testing.T) {
	// Long enough for the logins below on a machine that does something else now and then.
	n := startNode(t, func(c *Config) { c.HandshakeTimeout = time.Second })
	t.Run("clients", func(t *testing.T) {
		for name, play := range map[string]func(*rawClient){
			"silent":          func(*rawClient) {},
			"half a header":   func(c *rawClient) { c.write([]byte("AMQP")) },
			"stops in tune":   func(c *rawClient) { c.login() },
			"slow byte, open": func(c *rawClient) { c.login(); c.write([]byte{1}) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := n.raw(t)
				play(c)
				for {
					if _, err := c.next(); err != nil {
						return // the stream ended before the test's patience
					}
				}
			})
		}
	})
	eventually(t, "no connection is left", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.conns) == 0
	})
}

func TestHeartbeats(t *testing.T) {
	n := startNode(t, nil)
	c := n.raw(t)
	c.login()
	c.send(0, &spec.ConnectionTuneOK{Heartbeat: 2}, &spec.ConnectionOpen{VirtualHost: "/"})
	c.expect(&spec.ConnectionOpenOK{})
	h, err := c.f.next()
	if err != nil || h.kind != spec.FrameHeartbeat {
		t.Fatalf("got %+v, %v; want a heartbeat", h, err)
	}
	for err == nil { // this client sends none, so it is cut off
		if err = c.f.skip(h); err == nil {
			h, err = c.f.next()
		}
	}
	if len(n.Connections()) > 0 {
		eventually(t, "the connection is gone", func() bool { return len(n.Connections()) == 0 })
	}
}

func TestConnectionLimits(t *testing.T) {
	n := startNode(t, func(c *Config) { c.MaxConnectionsPerUser = 1 })
	n.raw(t).open()
	c := n.raw(t)
	c.login()
	c.send(0, &spec.ConnectionTuneOK{}, &spec.ConnectionOpen{VirtualHost: "/"})
	if text := c.expectClose(spec.NotAllowed); text != "NOT_ALLOWED - connection limit of user 'guest' (1) is reached" {
		t.Errorf("text %q", text)
	}
}

// TestMalformedInput: each of these ends its connection, and only that one.
func TestMalformedInput(t *testing.T) {
	n := startNode(t, nil)
	bystander := n.raw(t).open()
	method := func(channel uint16, ms ...spec.Method) []byte {
		var b []byte
		for _, m := range ms {
			b = appendMethod(b, channel, m)
		}
		return b
	}
	publish := method(1, &spec.BasicPublish{RoutingKey: []byte("q")})
	header := func(body uint64, properties string) []byte {
		return frameOf(spec.FrameHeader, 1, "\x00\x3c\x00\x00"+string([]byte{
			byte(body >> 56), byte(body >> 48), byte(body >> 40), byte(body >> 32),
			byte(body >> 24), byte(body >> 16), byte(body >> 8), byte(body),
		})+properties)
	}
	deep := []byte{'V'}
	for range 100 {
		deep = append([]byte{'A', 0, 0, byte(len(deep) >> 8), byte(len(deep))}, deep...)
	}
	deepHeaders := append([]byte{0x20, 0, 0, 0, byte((len(deep) + 2) >> 8), byte(len(deep) + 2), 1, 'a'}, deep...)
	for name, c := range map[string]struct {
		in   []byte
		code uint16
	}{
		"unknown frame type":             {frameOf(9, 1, ""), spec.FrameError},
		"frame of 4 GiB":                 {[]byte("\x01\x00\x01\xff\xff\xff\xff"), spec.FrameError},
		"frame beyond frame_max":         {[]byte("\x01\x00\x01\x00\x02\x00\x00"), spec.FrameError},
		"wrong frame end":                {[]byte("\x01\x00\x01\x00\x00\x00\x04\x00\x3c\x00\x50\x00"), spec.FrameError},
		"heartbeat on a channel":         {frameOf(spec.FrameHeartbeat, 1, ""), spec.FrameError},
		"method without an id":           {frameOf(spec.FrameMethod, 1, "\x00\x3c"), spec.SyntaxError},
		"unknown method":                 {frameOf(spec.FrameMethod, 1, "\x00\x3c\x03\xe7"), spec.NotImplemented},
		"unknown class":                  {frameOf(spec.FrameMethod, 1, "\x03\xe7\x00\x0a"), spec.NotImplemented},
		"unknown method on channel 0":    {frameOf(spec.FrameMethod, 0, "\x00\x0a\x03\xe7"), spec.CommandInvalid},
		"arguments cut off":              {frameOf(spec.FrameMethod, 1, "\x00\x32\x00\x0a\x00\x00\x05q"), spec.SyntaxError},
		"bytes after the arguments":      {frameOf(spec.FrameMethod, 1, "\x00\x5a\x00\x0ax"), spec.SyntaxError},
		"malformed table":                {frameOf(spec.FrameMethod, 1, "\x00\x32\x00\x0a\x00\x00\x01q\x00\x00\x00\x00\x03\x01aZ"), spec.SyntaxError},
		"channel method on channel 0":    {method(0, &spec.QueueDeclare{}), spec.CommandInvalid},
		"connection method on a channel": {method(1, &spec.ConnectionOpen{}), spec.CommandInvalid},
		"a server's method":              {method(1, &spec.BasicDeliver{}), spec.CommandInvalid},
		"channel is not open":            {method(2, &spec.QueueDeclare{}), spec.ChannelError},
		"content on a closed channel":    {frameOf(spec.FrameHeader, 2, ""), spec.ChannelError},
		"body on a closed channel":       {frameOf(spec.FrameBody, 2, ""), spec.ChannelError},
		"content on channel 0":           {frameOf(spec.FrameBody, 0, ""), spec.CommandInvalid},
		"second channel.open":            {method(1, &spec.ChannelOpen{}), spec.ChannelError},
		"channel number too high":        {method(2048, &spec.ChannelOpen{}), spec.NotAllowed},
		"header without publish":         {header(0, "\x00\x00"), spec.UnexpectedFrame},
		"body without header":            {frameOf(spec.FrameBody, 1, "x"), spec.UnexpectedFrame},
		"method instead of header":       {slices.Concat(publish, method(1, &spec.TxSelect{})), spec.UnexpectedFrame},
		"short header":                   {slices.Concat(publish, frameOf(spec.FrameHeader, 1, "\x00\x3c")), spec.FrameError},
		"header of another class":        {slices.Concat(publish, frameOf(spec.FrameHeader, 1, "\x00\x32\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")), spec.UnexpectedFrame},
		"malformed properties":           {slices.Concat(publish, header(0, "\x80\x00\x09x")), spec.SyntaxError},
		"headers nested too deep":        {slices.Concat(publish, header(0, string(deepHeaders))), spec.SyntaxError},
		"body larger than declared":      {slices.Concat(publish, header(2, "\x00\x00"), frameOf(spec.FrameBody, 1, "xyz")), spec.FrameError},
		"publish with immediate":         {method(1, &spec.BasicPublish{Immediate: true}), spec.NotImplemented},
		"qos with prefetch_size":         {method(1, &spec.BasicQos{PrefetchSize: 1}), spec.NotImplemented},
		"flow off":                       {method(1, &spec.ChannelFlow{}), spec.NotImplemented},
		"recover without requeue":        {method(1, &spec.BasicRecover{}), spec.NotImplemented},
		"reused consumer tag": {method(1, &spec.QueueDeclare{Exclusive: true, NoWait: true},
			&spec.BasicConsume{ConsumerTag: "t", NoWait: true}, &spec.BasicConsume{ConsumerTag: "t", NoWait: true}), spec.NotAllowed},
		"close-ok out of the blue": {method(0, &spec.ConnectionCloseOK{}), spec.CommandInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			raw := n.raw(t).open()
			raw.t = t
			raw.write(c.in)
			raw.expectClose(c.code)
		})
	}
	bystander.send(1, &spec.QueueDeclare{Exclusive: true})
	bystander.expect(&spec.QueueDeclareOK{})
}

func TestMethodBeforeOpen(t *testing.T) {
	n := startNode(t, nil)
	for name, in := range map[string][]byte{
		"publish":        content(1, "q", "\x00\x00", "body"),
		"channel.open":   appendMethod(nil, 1, &spec.ChannelOpen{}),
		"body":           frameOf(spec.FrameBody, 0, "x"),
		"open":           appendMethod(nil, 0, &spec.ConnectionOpen{VirtualHost: "/"}),
		"frame of 9 KiB": frameOf(spec.FrameMethod, 0, strings.Repeat("x", 9<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			c := n.raw(t)
			c.write(protocolHeader)
			c.expect(&spec.ConnectionStart{})
			c.write(in)
			var m spec.ConnectionClose
			c.expect(&m)
		})
	}
}

// TestChannelErrors: each of these closes the channel with the code and the
// words that clients know, and leaves the connection alone.
func TestChannelErrors(t *testing.T) {
	n := startNode(t, nil)
	other := n.raw(t).open()
	other.send(1, &spec.QueueDeclare{Queue: "locked", Exclusive: true}, &spec.QueueDeclare{Queue: "durable", Durable: true})
	other.expect(&spec.QueueDeclareOK{})
	other.expect(&spec.QueueDeclareOK{})
	other.send(1, &spec.ExchangeDeclare{Exchange: "inner", Type: "direct", Internal: true})
	other.expect(&spec.ExchangeDeclareOK{})

	withProperties := func(p record.Properties, key string) []byte {
		b, err := p.Append(nil)
		must(t, err)
		return content(1, key, string(b), "")
	}
	publishTo := func(exchange string) []byte {
		b := appendMethod(nil, 1, &spec.BasicPublish{Exchange: []byte(exchange)})
		return appendContent(b, 1, 131072, &record.Message{Properties: []byte{0, 0}})
	}
	huge := appendMethod(nil, 1, &spec.BasicPublish{})
	huge = append(huge, frameOf(spec.FrameHeader, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x01\x00\x00\x01\x00\x00")...)
	huge = append(huge, frameOf(spec.FrameBody, 1, "the beginning")...)
	for name, c := range map[string]struct {
		ms   []spec.Method
		in   []byte
		code uint16
		text string
	}{
		"no queue":             {ms: []spec.Method{&spec.QueueDeclare{Queue: "x", Passive: true}}, code: 404, text: "NOT_FOUND - no queue 'x' in vhost '/'"},
		"no queue to consume":  {ms: []spec.Method{&spec.BasicConsume{Queue: "x"}}, code: 404, text: "NOT_FOUND - no queue 'x' in vhost '/'"},
		"no queue to get":      {ms: []spec.Method{&spec.BasicGet{Queue: "x"}}, code: 404, text: "NOT_FOUND - no queue 'x' in vhost '/'"},
		"no queue to bind":     {ms: []spec.Method{&spec.QueueBind{Queue: "x", Exchange: "amq.direct"}}, code: 404, text: "NOT_FOUND - no queue 'x' in vhost '/'"},
		"no queue to purge":    {ms: []spec.Method{&spec.QueuePurge{Queue: "x"}}, code: 404, text: "NOT_FOUND - no queue 'x' in vhost '/'"},
		"no last queue":        {ms: []spec.Method{&spec.BasicConsume{}}, code: 404, text: "NOT_FOUND - no previously declared queue"},
		"no exchange":          {ms: []spec.Method{&spec.ExchangeDeclare{Exchange: "x", Passive: true}}, code: 404, text: "NOT_FOUND - no exchange 'x' in vhost '/'"},
		"publish to none":      {in: publishTo("x"), code: 404, text: "NOT_FOUND - no exchange 'x' in vhost '/'"},
		"publish to internal":  {in: publishTo("inner"), code: 403, text: "ACCESS_REFUSED - cannot publish to internal exchange 'inner' in vhost '/'"},
		"exclusive to another": {ms: []spec.Method{&spec.QueueDeclare{Queue: "locked", Passive: true}}, code: 405, text: "RESOURCE_LOCKED - "},
		"consume another's":    {ms: []spec.Method{&spec.BasicConsume{Queue: "locked"}}, code: 405, text: "RESOURCE_LOCKED - "},
		"get from another's":   {ms: []spec.Method{&spec.BasicGet{Queue: "locked"}}, code: 405, text: "RESOURCE_LOCKED - "},
		"inequivalent":         {ms: []spec.Method{&spec.QueueDeclare{Queue: "durable"}}, code: 406, text: "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'durable' in vhost '/'"},
		"inequivalent type":    {ms: []spec.Method{&spec.ExchangeDeclare{Exchange: "inner", Type: "fanout", Internal: true}}, code: 406, text: "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'inner' in vhost '/'"},
		"reserved queue":       {ms: []spec.Method{&spec.QueueDeclare{Queue: "amq.mine"}}, code: 403, text: "ACCESS_REFUSED - "},
		"reserved exchange":    {ms: []spec.Method{&spec.ExchangeDeclare{Exchange: "amq.mine", Type: "direct"}}, code: 403, text: "ACCESS_REFUSED - "},
		"default exchange":     {ms: []spec.Method{&spec.ExchangeDelete{}}, code: 403, text: "ACCESS_REFUSED - "},
		"bind to default":      {ms: []spec.Method{&spec.QueueBind{Queue: "durable"}}, code: 403, text: "ACCESS_REFUSED - "},
		"unknown tag":          {ms: []spec.Method{&spec.BasicAck{DeliveryTag: 7}}, code: 406, text: "PRECONDITION_FAILED - unknown delivery tag 7"},
		"unknown tags":         {ms: []spec.Method{&spec.BasicNack{DeliveryTag: 7, Multiple: true}}, code: 406, text: "PRECONDITION_FAILED - unknown delivery tag 7"},
		"unknown tag rejected": {ms: []spec.Method{&spec.BasicReject{DeliveryTag: 1}}, code: 406, text: "PRECONDITION_FAILED - unknown delivery tag 1"},
		"tx then confirm":      {ms: []spec.Method{&spec.TxSelect{}, &spec.ConfirmSelect{}}, code: 406, text: "PRECONDITION_FAILED - cannot switch from tx to confirm mode"},
		"confirm then tx":      {ms: []spec.Method{&spec.ConfirmSelect{}, &spec.TxSelect{}}, code: 406, text: "PRECONDITION_FAILED - cannot switch from confirm to tx mode"},
		"commit without tx":    {ms: []spec.Method{&spec.TxCommit{}}, code: 406, text: "PRECONDITION_FAILED - channel is not transactional"},
		"rollback without tx":  {ms: []spec.Method{&spec.TxRollback{}}, code: 406, text: "PRECONDITION_FAILED - channel is not transactional"},
		"message too large":    {in: huge, code: 406, text: "PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216"},
		"expiration":           {in: withProperties(record.Properties{Expiration: "soon"}, "durable"), code: 406, text: "PRECONDITION_FAILED - invalid expiration 'soon'"},
		"negative expiration":  {in: withProperties(record.Properties{Expiration: "-1"}, "durable"), code: 406, text: "PRECONDITION_FAILED - invalid expiration '-1'"},
		"user-id":              {in: withProperties(record.Properties{UserID: "root"}, "durable"), code: 406, text: "PRECONDITION_FAILED - user_id property set to 'root' but authenticated user was 'guest'"},
		"CC is no array":       {in: withProperties(record.Properties{Headers: record.Table{"CC": "a"}}, "durable"), code: 406, text: "PRECONDITION_FAILED - header 'CC' must be an array of strings"},
		"x-priority":           {ms: []spec.Method{&spec.BasicConsume{Queue: "durable", Arguments: record.Table{"x-priority": "high"}}}, code: 406, text: "PRECONDITION_FAILED - invalid arg 'x-priority'"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := n.raw(t).open()
			raw.t = t
			raw.write(c.in)
			raw.send(1, c.ms...)
			var m spec.ChannelClose
			for {
				got, err := raw.next()
				must(t, err)
				if closed, ok := got.(*spec.ChannelClose); ok {
					m = *closed
					break
				}
				if got.ID() == spec.ConnectionCloseID {
					t.Fatalf("the connection was closed: %+v", got)
				}
			}
			if m.ReplyCode != c.code || !strings.HasPrefix(m.ReplyText, c.text) {
				t.Errorf("closed with %d %q, want %d %q", m.ReplyCode, m.ReplyText, c.code, c.text)
			}
			// What comes before close-ok is dropped; then the number can be used again.
			raw.send(1, &spec.QueueDeclare{Queue: "dropped"}, &spec.ChannelCloseOK{}, &spec.ChannelOpen{})
			raw.expect(&spec.ChannelOpenOK{})
		})
	}
}

func TestSmallMethods(t *testing.T) {
	c := startNode(t, nil).raw(t).open()
	c.send(1, &spec.AccessRequest{Realm: "/data", Active: true})
	c.expect(&spec.AccessRequestOK{})
	c.send(1, &spec.ChannelFlow{Active: true})
	c.expect(&spec.ChannelFlowOK{})
	c.send(1, &spec.BasicCancel{ConsumerTag: "unknown"})
	c.expect(&spec.BasicCancelOK{})
	c.send(0, &spec.ConnectionUpdateSecret{NewSecret: "guest", Reason: "rotation"})
	c.expect(&spec.ConnectionUpdateSecretOK{})
	c.send(1, &spec.QueueDeclare{Queue: "a\r\nb", Exclusive: true})
	var ok spec.QueueDeclareOK
	if c.expect(&ok); ok.Queue != "ab" {
		t.Errorf("queue %q", ok.Queue)
	}
	c.send(1, &spec.QueueBind{Exchange: "amq.topic", RoutingKey: "k"}, &spec.QueueUnbind{Exchange: "amq.topic", RoutingKey: "k"})
	c.expect(&spec.QueueBindOK{})
	c.expect(&spec.QueueUnbindOK{})
	c.send(1, &spec.ExchangeDelete{Exchange: "none"}, &spec.QueueDelete{Queue: "none"}, &spec.QueuePurge{})
	c.expect(&spec.ExchangeDeleteOK{})
	c.expect(&spec.QueueDeleteOK{})
	c.expect(&spec.QueuePurgeOK{})
	c.send(1, &spec.BasicRecoverAsync{Requeue: true}, &spec.BasicRecover{Requeue: true})
	c.expect(&spec.BasicRecoverOK{})
	c.send(0, &spec.ConnectionUpdateSecret{NewSecret: "wrong"})
	c.expectClose(spec.NotAllowed)
}
