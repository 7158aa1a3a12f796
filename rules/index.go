package rules

import (
	"cmp"
	"slices"

	"turnout/rules/words"
)

// keyKind says by what an index finds a rule.
type keyKind uint8

const (
	phraseKey  keyKind = iota // a phrase occurs in a text
	textKey                   // a field equals a text
	memberKey                 // a list has a text
	numberKey                 // a field equals a number
	literalKey                // a literal occurs in a text, whatever its case
	aboveKey                  // a field is at least a number
	belowKey                  // a field is at most a number
)

// key is a fact that can be looked up, and without which a condition is false.
type key struct {
	kind   keyKind
	target textID // of phraseKey, literalKey
	phrase int    // of phraseKey
	field  field
	text   string
	number float64
}

// cost ranks keys by how often they are expected to hold: the rarer, the better to look a rule up by.
func cost(keys []key) int {
	most := 0
	for _, k := range keys {
		most = max(most, int(k.kind))
	}
	return most
}

// index finds the rules of one phase that may match an exchange. Rules are known by their place in the order of
// evaluation.
type index struct {
	rules  []*rule
	locked bits
	always []int32

	phrases  [textCount]phraseIndex
	literals [textCount]*scanner
	texts    []textIndex
	members  []textIndex // of lists
	numbers  []numberIndex
}

type phraseIndex struct {
	dictionary *words.Dictionary // nil when no rule of the phase looks for phrases there
	rules      [][]int32         // by phrase
}

type textIndex struct {
	field field
	rules map[string][]int32
}

type numberIndex struct {
	field        field
	equal        map[float64][]int32
	above, below []threshold // by rising, by falling number
}

type threshold struct {
	number float64
	rule   int32
}

// newIndex builds the index of rules, which are in order of evaluation.
func newIndex(rules []*rule, dictionaries [textCount]*words.Dictionary, phrases [textCount]*phraseList) *index {
	x := &index{rules: rules, locked: newBits(len(rules))}
	literals := [textCount]map[string][]int32{}
	texts, members, numbers := map[string]int{}, map[string]int{}, map[string]int{}
	for t := range x.phrases {
		x.phrases[t] = phraseIndex{dictionary: dictionaries[t], rules: make([][]int32, len(phrases[t].phrases))}
		literals[t] = map[string][]int32{}
	}
	for i, r := range rules {
		n := int32(i)
		if r.locked {
			x.locked.add(i)
		}
		if r.condition.keys == nil {
			x.always = append(x.always, n)
		}
		for _, k := range r.condition.keys {
			switch k.kind {
			case phraseKey:
				x.phrases[k.target].rules[k.phrase] = appendOnce(x.phrases[k.target].rules[k.phrase], n)
			case literalKey:
				literals[k.target][k.text] = appendOnce(literals[k.target][k.text], n)
			case textKey:
				x.texts = addText(x.texts, texts, k, n)
			case memberKey:
				x.members = addText(x.members, members, k, n)
			default:
				at, ok := numbers[k.field.path]
				if !ok {
					at = len(x.numbers)
					numbers[k.field.path] = at
					x.numbers = append(x.numbers, numberIndex{field: k.field, equal: map[float64][]int32{}})
				}
				x.numbers[at].add(k, n)
			}
		}
	}
	for t, l := range literals {
		if len(l) > 0 {
			x.literals[t] = newScanner(l)
		}
	}
	for _, n := range x.numbers {
		slices.SortStableFunc(n.above, func(a, b threshold) int { return cmp.Compare(a.number, b.number) })
		slices.SortStableFunc(n.below, func(a, b threshold) int { return cmp.Compare(b.number, a.number) })
	}
	return x
}

// addText notes a rule under the text of its key; at finds the index of a field.
func addText(indexes []textIndex, at map[string]int, k key, rule int32) []textIndex {
	i, ok := at[k.field.path]
	if !ok {
		i = len(indexes)
		at[k.field.path] = i
		indexes = append(indexes, textIndex{field: k.field, rules: map[string][]int32{}})
	}
	indexes[i].rules[k.text] = appendOnce(indexes[i].rules[k.text], rule)
	return indexes
}

func appendOnce(rules []int32, n int32) []int32 {
	if len(rules) > 0 && rules[len(rules)-1] == n {
		return rules
	}
	return append(rules, n)
}

func (n *numberIndex) add(k key, rule int32) {
	switch k.kind {
	case aboveKey:
		n.above = append(n.above, threshold{k.number, rule})
	case belowKey:
		n.below = append(n.below, threshold{k.number, rule})
	default:
		n.equal[k.number] = appendOnce(n.equal[k.number], rule)
	}
}

// candidates sets f.candidates to the rules that may match what f shows.
func (x *index) candidates(f *frame) {
	f.candidates.reset(len(x.rules))
	f.candidates.addAll(x.always)
	for t := range x.phrases {
		for _, phrase := range f.found[t] {
			f.candidates.addAll(x.phrases[t].rules[phrase])
		}
		if x.literals[t] != nil && f.texts[t] != "" {
			x.literals[t].scan(f.lowered(textID(t)), &f.candidates)
		}
	}
	for i := range x.texts {
		if rules := x.texts[i].rules[x.texts[i].field.text(f)]; rules != nil {
			f.candidates.addAll(rules)
		}
	}
	for i := range x.members {
		for _, member := range x.members[i].field.list(f) {
			if rules := x.members[i].rules[member]; rules != nil {
				f.candidates.addAll(rules)
			}
		}
	}
	for i := range x.numbers {
		n := &x.numbers[i]
		value := n.field.number(f)
		if len(n.equal) > 0 {
			f.candidates.addAll(n.equal[value])
		}
		for _, t := range n.above {
			if t.number > value {
				break
			}
			f.candidates.add(int(t.rule))
		}
		for _, t := range n.below {
			if t.number < value {
				break
			}
			f.candidates.add(int(t.rule))
		}
	}
}
