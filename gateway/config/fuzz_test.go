package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"turnout/gateway/config"
)

// FuzzLoad reads arbitrary bytes as settings and as resources. Whatever they hold, there is either a configuration that
// is whole, or faults with a place in one of the files.
func FuzzLoad(f *testing.F) {
	dirs, err := filepath.Glob("testdata/bad/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, dir := range dirs {
		settings, err1 := os.ReadFile(filepath.Join(dir, "turnout.yaml"))
		resources, err2 := os.ReadFile(filepath.Join(dir, "shop.yaml"))
		if err := errors.Join(err1, err2); err != nil {
			f.Fatal(err)
		}
		f.Add(settings, resources)
	}
	settings := []byte("data: d\nroot_key: env:R\naudit: {signing_key: env:A}\nresources: [shop.yaml]\n")
	shop, err := os.ReadFile("testdata/good/conf/shop.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(settings, shop)
	f.Add(settings, []byte("kind: rules\nname: r\nspec:\n  rules:\n  ? a\n  : b\n"))
	f.Fuzz(func(t *testing.T, settings, resources []byte) {
		if len(settings) > 4<<10 || len(resources) > 16<<10 {
			return
		}
		c, err := config.Parse(fstest.MapFS{
			"turnout.yaml": {Data: settings}, "shop.yaml": {Data: resources},
			"rules/a.yml": {Data: []byte("rules: []\n")},
		}, "turnout.yaml")
		if err == nil {
			for _, tenant := range c.Tenants {
				if tenant.Digest == "" || tenant.Bot == "" || tenant.DefaultQueue == "" {
					t.Fatalf("tenant %q is not whole", tenant.Name)
				}
			}
			return
		}
		var faults config.Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("got %v, want faults", err)
		}
		for _, fault := range faults {
			if fault.File == "" || fault.Message == "" || fault.Line < 0 || fault.Column < 0 {
				t.Fatalf("fault without place or message: %#v", fault)
			}
		}
	})
}
