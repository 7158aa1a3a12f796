package safeexpr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ownFunctions replace built-in functions of expr that have no bound: string writes any structure however large, join
// multiplies its separator.
func ownFunctions() []Function {
	return []Function{
		{Name: "string", Call: toString, Types: []any{(*func(any) string)(nil)}},
		{Name: "join", Call: join, Types: []any{(*func(any) string)(nil), (*func(any, string) string)(nil)}},
	}
}

func toString(args ...any) (any, error) {
	switch v := args[0].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	}
	return nil, fmt.Errorf("string takes a text, a number or a boolean, not %T", args[0])
}

var errJoinTooLong = errors.New("join would return more than 1 MiB")

func join(args ...any) (any, error) {
	separator := ""
	if len(args) > 1 {
		separator = args[1].(string)
	}
	var parts []string
	switch list := args[0].(type) {
	case []string:
		parts = list
	case []any:
		parts = make([]string, 0, len(list))
		for _, item := range list {
			s, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("join takes texts, not %T", item)
			}
			parts = append(parts, s)
		}
	default:
		return nil, fmt.Errorf("join takes a list of texts, not %T", args[0])
	}
	size := 0
	for _, p := range parts {
		if size += len(p) + len(separator); size > MaxJoined {
			return nil, errJoinTooLong
		}
	}
	return strings.Join(parts, separator), nil
}
