package webhook

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/expr-lang/expr/ast"

	"turnout/adapters"
)

// template writes the JSON of what an expression makes of a turn. Expressions that are made of nothing but names,
// constants, maps and lists, as nearly all request mappings are, have one; it writes the bytes that evaluating the
// expression and encoding the result would give.
type template []step

// step writes fixed bytes and then the value of a name.
type step struct {
	fixed []byte
	name  turnName
}

// turnName is a name of request expressions whose value is a text or a number.
type turnName uint8

const (
	noName turnName = iota
	nameID
	nameAttempt
	nameTenant
	nameChannel
	nameConversation
	nameAddress
	nameContact
	nameText
	nameLang
)

var turnNames = map[string]turnName{
	"id": nameID, "attempt": nameAttempt, "tenant": nameTenant, "channel": nameChannel, "conversation": nameConversation,
	"address": nameAddress, "contact": nameContact, "text": nameText, "lang": nameLang,
}

func (n turnName) append(dst []byte, t *adapters.Turn) []byte {
	switch n {
	case nameID:
		return appendString(dst, t.ID)
	case nameAttempt:
		return strconv.AppendInt(dst, int64(max(t.Attempt, 1)), 10)
	case nameTenant:
		return appendString(dst, t.Tenant)
	case nameChannel:
		return appendString(dst, t.From.Channel)
	case nameConversation:
		return appendString(dst, t.Conversation)
	case nameAddress:
		return appendString(dst, t.From.Address)
	case nameContact:
		return appendString(dst, t.Contact)
	case nameText:
		return appendString(dst, turnText(t))
	case nameLang:
		return appendString(dst, t.Lang)
	}
	return dst
}

func (p template) append(dst []byte, t *adapters.Turn) []byte {
	for i := range p {
		dst = append(dst, p[i].fixed...)
		dst = p[i].name.append(dst, t)
	}
	return dst
}

// newTemplate returns the template of an expression; nil when the expression must be evaluated.
func newTemplate(node ast.Node) template {
	switch n := node.(type) {
	case *ast.IdentifierNode:
		if name, ok := turnNames[n.Value]; ok {
			return template{{name: name}}
		}
	case *ast.StringNode:
		return constant(n.Value)
	case *ast.IntegerNode:
		return constant(n.Value)
	case *ast.BoolNode:
		return constant(n.Value)
	case *ast.MapNode:
		members := make([]member, 0, len(n.Pairs))
		for _, p := range n.Pairs {
			pair, ok := p.(*ast.PairNode)
			if !ok {
				return nil
			}
			name, ok := pair.Key.(*ast.StringNode)
			if !ok {
				return nil
			}
			members = append(members, member{name: name.Value, value: newTemplate(pair.Value)})
		}
		return object(members)
	case *ast.ArrayNode:
		return list(n.Nodes)
	}
	return nil
}

func constant(value any) template {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil
	}
	return template{{fixed: encoded}}
}

// member is a member of an object that a template writes.
type member struct {
	name  string
	value template
}

// object returns the template of an object, whose members are written in the order of their names; nil when a member has
// no template, and when two have the same name.
func object(members []member) template {
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	out := template{{fixed: []byte{'{'}}}
	for i, m := range members {
		if m.value == nil || i > 0 && members[i-1].name == m.name {
			return nil
		}
		var head []byte
		if i > 0 {
			head = append(head, ',')
		}
		out = append(out, step{fixed: append(appendString(head, m.name), ':')})
		out = append(out, m.value...)
	}
	return append(out, step{fixed: []byte{'}'}}).joined()
}

func list(nodes []ast.Node) template {
	out := template{{fixed: []byte{'['}}}
	for i, node := range nodes {
		item := newTemplate(node)
		if item == nil {
			return nil
		}
		if i > 0 {
			out = append(out, step{fixed: []byte{','}})
		}
		out = append(out, item...)
	}
	return append(out, step{fixed: []byte{']'}}).joined()
}

// joined makes one step of those that write nothing but fixed bytes and the step after them.
func (p template) joined() template {
	var out template
	for _, s := range p {
		if last := len(out) - 1; last >= 0 && out[last].name == noName {
			out[last] = step{fixed: slices.Concat(out[last].fixed, s.fixed), name: s.name}
			continue
		}
		out = append(out, s)
	}
	return out
}
