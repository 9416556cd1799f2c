package bench

import (
	"os"
	"time"
)

// meter takes what is counted and used at both ends of the measured time.
type meter struct {
	run         *run
	first, last sample
}

type sample struct {
	at        time.Time
	confirmed int64
	consumed  int64
	broker    usages
	own       usage
	written   int64 // to the disk
}

func (m *meter) take() (sample, error) {
	broker, err := usagesOf(m.run.load.PIDs, m.first.broker)
	if err != nil {
		return sample{}, err
	}
	written, err := diskWritten(m.run.load.Disk)
	own, _ := readUsage(os.Getpid()) // where it cannot be read it is not shown
	return sample{time.Now(), m.run.confirms.counted(), m.run.arrivals.counted(), broker, own, written}, err
}

func (m *meter) begin() (err error) {
	m.first, err = m.take()
	m.window(m.first.at, m.first.at.Add(1<<62))
	return err
}

func (m *meter) end() (err error) {
	m.last, err = m.take()
	m.window(m.first.at, m.last.at)
	return err
}

func (m *meter) window(since, until time.Time) {
	m.run.confirms.window(since, until)
	m.run.arrivals.window(since, until)
}

func (m *meter) result() *Result {
	l, first, last := &m.run.load, &m.first, &m.last
	seconds := last.at.Sub(first.at).Seconds()
	r := &Result{
		Started: first.at.UTC(), Seconds: seconds, Phase: l.Phase,
		Producers: l.Producers, Consumers: l.Consumers, Queues: l.Queues, Size: l.Size,
		InFlight: l.InFlight, TargetPS: l.Rate,
		Confirmed: last.confirmed - first.confirmed,
		Consumed:  last.consumed - first.consumed,
		Confirm:   m.run.confirms.latency(),
		EndToEnd:  m.run.arrivals.latency(),
		Refused:   m.run.refused.Load(), Unconfirmed: m.run.pending(),
	}
	r.Protocol, r.Client = m.run.target.names()
	r.ConfirmedPS = float64(r.Confirmed) / seconds
	r.ConsumedPS = float64(r.Consumed) / seconds
	messages := r.Confirmed
	if l.Producers == 0 {
		messages = r.Consumed
	}
	if messages == 0 {
		return r
	}
	perMessage := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(messages) }
	r.Own = perMessage(last.own.cpu - first.own.cpu)
	if len(l.PIDs) > 0 {
		use := last.broker.sum()
		cpu := use.cpu - first.broker.sum().cpu
		r.Broker = &BrokerUse{
			CPU: perMessage(cpu), Cores: cpu.Seconds() / seconds,
			Memory: use.memory, Peak: use.peak,
			Processes: l.PIDs,
		}
	}
	if l.Disk != "" {
		written := last.written - first.written
		r.Disk = &DiskUse{Written: written, PerByte: float64(written) / float64(messages) / float64(l.Size)}
	}
	return r
}
