package config

import (
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"turnout/adapters"
)

// basic decodes strings, booleans and numbers. A whole number whose name ends in "_bytes" may be written as a size.
func (d *decoder) basic(n ast.Node, v reflect.Value, key string) {
	switch v.Kind() {
	case reflect.String:
		text, ok := textOf(n)
		if !ok {
			hint := ""
			if _, scalar := n.(ast.ScalarNode); scalar {
				hint = "; put quotes around it"
			}
			d.faultf(n, "%s must be text, found %s%s", orThis(key), what(n), hint)
			return
		}
		v.SetString(text)
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.faultf(n, "%s must be true or false, found %s", orThis(key), what(n))
			return
		}
		v.SetBool(b.Value)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, ok := d.whole(n, key)
		if ok && v.OverflowInt(i) {
			d.faultf(n, "%s is too large", orThis(key))
		} else if ok {
			v.SetInt(i)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		i, ok := d.whole(n, key)
		if ok && (i < 0 || v.OverflowUint(uint64(i))) {
			d.faultf(n, "%s is out of range", orThis(key))
		} else if ok {
			v.SetUint(uint64(i))
		}
	case reflect.Float32, reflect.Float64:
		switch num := n.(type) {
		case *ast.FloatNode:
			v.SetFloat(num.Value)
		case *ast.IntegerNode:
			i, ok := d.whole(n, key)
			if ok {
				v.SetFloat(float64(i))
			}
		default:
			d.faultf(n, "%s must be a number, found %s", orThis(key), what(n))
		}
	default:
		d.faultf(n, "%s cannot be read from a file", orThis(key))
	}
}

func (d *decoder) whole(n ast.Node, key string) (int64, bool) {
	if num, ok := n.(*ast.IntegerNode); ok {
		switch i := num.Value.(type) {
		case int64:
			return i, true
		case uint64:
			if i <= math.MaxInt64 {
				return int64(i), true
			}
		}
		d.faultf(n, "%s is too large", orThis(key))
		return 0, false
	}
	if strings.HasSuffix(key, "_bytes") {
		if text, ok := textOf(n); ok {
			size, err := parseSize(text)
			if err != nil {
				d.faultf(n, "%s: %v", orThis(key), err)
			}
			return size, err == nil
		}
		d.faultf(n, `%s must be a size such as "10MiB" or a number of bytes, found %s`, key, what(n))
		return 0, false
	}
	d.faultf(n, "%s must be a whole number, found %s", orThis(key), what(n))
	return 0, false
}

// scalar decodes text through parse.
func (d *decoder) scalar(n ast.Node, v reflect.Value, key string, parse func(string) (any, error)) {
	text, ok := textOf(n)
	if !ok {
		// The form is explained by the parser's own message for something that is never right.
		_, err := parse("")
		d.faultf(n, "%s: %v", orThis(key), err)
		return
	}
	got, err := parse(text)
	if err != nil {
		d.faultf(n, "%s: %v", orThis(key), err)
		return
	}
	v.Set(reflect.ValueOf(got))
}

var errDuration = errors.New(`want a length of time such as "500ms", "30s", "24h" or "14d"`)

// duration reads what time.ParseDuration reads, and whole days ("14d"). Negative lengths are refused.
func duration(s string) (any, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return nil, errDuration
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return nil, errDuration
	}
	return d, nil
}

// instant reads a date (the start of that day, UTC) or an RFC 3339 time.
func instant(s string) (any, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return nil, errors.New(`want a date such as "2030-01-31" or a time such as "2030-01-31T18:00:00Z"`)
}

func network(s string) (any, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p != p.Masked() {
		return nil, errors.New(`want a network such as "10.1.0.0/16" or "fd00::/8", or one address such as "127.0.0.1/32"`)
	}
	return p, nil
}

func secretRef(s string) (any, error) {
	ref := adapters.SecretRef(s)
	if _, _, err := splitRef(ref); err != nil {
		return nil, err
	}
	return ref, nil
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// parseSize reads "256KiB", "10 MiB", "1GB" or "512B" into bytes.
func parseSize(s string) (int64, error) {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(number, " "), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.bytes {
			break
		}
		return n * u.bytes, nil
	}
	return 0, errors.New(`want a size such as "512B", "256KiB" or "10MiB"`)
}
