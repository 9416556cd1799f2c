package amqp

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"waybill/internal/record"
)

// TestUnacked compares with a sorted slice.
func TestUnacked(t *testing.T) {
	from := &consumer{}
	rapid.Check(t, func(t *rapid.T) {
		var u unacked
		var model []uint64
		next := uint64(1)
		tags := func(ds []delivery) (tags []uint64) {
			for _, d := range ds {
				if d.from != from || d.offset != record.Offset(d.tag) {
					t.Fatalf("delivery %+v is damaged", d)
				}
				tags = append(tags, d.tag)
			}
			return tags
		}
		check := func(got []delivery, ok bool, want []uint64, wantOK bool) {
			if ok != wantOK || !slices.Equal(tags(got), want) {
				t.Fatalf("got %v %v, want %v %v", tags(got), ok, want, wantOK)
			}
		}
		take := func(t *rapid.T) []delivery {
			tag := rapid.Uint64Range(0, next).Draw(t, "tag")
			multiple := rapid.Bool().Draw(t, "multiple")
			got, ok := u.take(tag, multiple, nil)
			i, found := slices.BinarySearch(model, tag)
			switch {
			case multiple && tag == 0:
				check(got, ok, model, true)
				model = nil
			case !found:
				check(got, ok, nil, false)
			case multiple:
				check(got, ok, model[:i+1], true)
				model = slices.Clone(model[i+1:])
			default:
				check(got, ok, []uint64{tag}, true)
				model = slices.Delete(model, i, i+1)
			}
			return got
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.IntRange(1, 200).Draw(t, "n") {
					if rapid.IntRange(0, 3).Draw(t, "gap") == 0 {
						next++
					}
					u.push(delivery{tag: next, from: from, offset: record.Offset(next)})
					model = append(model, next)
					next++
				}
			},
			"take": func(t *rapid.T) { take(t) },
			"rollback": func(t *rapid.T) {
				got := take(t)
				u.putBack(got)
				model = append(model, tags(got)...)
				slices.Sort(model)
			},
			"": func(*rapid.T) {
				if u.len() != len(model) {
					t.Fatalf("len %d, want %d", u.len(), len(model))
				}
			},
		})
	})
}

func TestUnackedMemoryFollowsItsNumber(t *testing.T) {
	var u unacked
	u.push(delivery{tag: 1, from: &consumer{}}) // never settled
	var out []delivery
	for tag := uint64(2); tag < 1_000_000; tag++ {
		u.push(delivery{tag: tag, from: &consumer{}})
		out, _ = u.take(tag, false, out[:0])
	}
	if cap(u.all) > 4096 {
		t.Errorf("room for %d deliveries although one is unsettled", cap(u.all))
	}
}
