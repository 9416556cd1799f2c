package broker

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/group"
	"waybill/internal/record"
)

// groupCollector measures the consumer groups when it is scraped: their state,
// how far behind they are, and what was deleted before they read it.
type groupCollector struct {
	b *Broker

	groups, members, rebalances, evicted, lag, missed *prometheus.Desc
}

func newGroupCollector(b *Broker) *groupCollector {
	partition := []string{"group", "topic", "partition"}
	return &groupCollector{
		b:          b,
		groups:     prometheus.NewDesc("waybill_groups", "Consumer groups, by state.", []string{"state"}, nil),
		members:    prometheus.NewDesc("waybill_group_members", "Members of a consumer group.", []string{"group"}, nil),
		rebalances: prometheus.NewDesc("waybill_group_rebalances_total", "Rebalances of consumer groups that this node coordinates.", nil, nil),
		evicted:    prometheus.NewDesc("waybill_group_members_evicted_total", "Members removed because they were silent for longer than their session or rebalance timeout.", nil, nil),
		lag:        prometheus.NewDesc("waybill_group_lag", "Records between a group's committed offset and the high watermark.", partition, nil),
		missed:     prometheus.NewDesc("waybill_group_missed", "Records after a group's committed offset that retention has deleted: the group will never read them.", partition, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *groupCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.groups, c.members, c.rebalances, c.evicted, c.lag, c.missed} {
		to <- d
	}
}

// surveyTimeout bounds how long a scrape waits for the coordinators.
const surveyTimeout = 2 * time.Second

// survey asks all coordinators. Those that do not answer in time are left out.
func (b *Broker) survey() []*group.SurveyResponse {
	here := b.coordinatorsHere()
	answers := make(chan *group.SurveyResponse, len(here))
	for _, c := range here {
		ask(c, &group.SurveyRequest{}, func(r *group.SurveyResponse) { answers <- r })
	}
	var all []*group.SurveyResponse
	timeout := time.After(surveyTimeout)
	for range here {
		select {
		case r := <-answers:
			all = append(all, r)
		case <-timeout:
			return all
		}
	}
	return all
}

// Collect implements prometheus.Collector.
func (c *groupCollector) Collect(to chan<- prometheus.Metric) {
	states := map[string]int{"Empty": 0, "PreparingRebalance": 0, "CompletingRebalance": 0, "Stable": 0}
	var rebalances, evicted uint64
	for _, s := range c.b.survey() {
		rebalances += s.Rebalances
		evicted += s.Evicted
		for i := range s.Groups {
			g := &s.Groups[i]
			states[g.State]++
			to <- prometheus.MustNewConstMetric(c.members, prometheus.GaugeValue, float64(g.Members), g.Group)
			c.collectOffsets(to, g)
		}
	}
	for state, n := range states {
		to <- prometheus.MustNewConstMetric(c.groups, prometheus.GaugeValue, float64(n), state)
	}
	to <- prometheus.MustNewConstMetric(c.rebalances, prometheus.CounterValue, float64(rebalances))
	to <- prometheus.MustNewConstMetric(c.evicted, prometheus.CounterValue, float64(evicted))
}

// collectOffsets measures where a group is in its partitions.
func (c *groupCollector) collectOffsets(to chan<- prometheus.Metric, g *group.Survey) {
	for i := range g.Offsets {
		o := &g.Offsets[i]
		t, ok := c.b.Topic(o.Topic)
		if !ok || t.ID != o.TopicID || int(o.Partition) >= len(t.Partitions) {
			continue
		}
		start, high := t.Partitions[o.Partition].Offsets()
		at := record.Offset(o.Offset.Offset)
		labels := []string{g.Group, o.Topic, strconv.Itoa(int(o.Partition))}
		to <- prometheus.MustNewConstMetric(c.lag, prometheus.GaugeValue, float64(max(0, high-max(at, start))), labels...)
		to <- prometheus.MustNewConstMetric(c.missed, prometheus.GaugeValue, float64(max(0, start-at)), labels...)
	}
}
