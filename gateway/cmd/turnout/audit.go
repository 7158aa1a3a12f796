package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"turnout/gateway"
	"turnout/gateway/audit"
	"turnout/gateway/config"
	"turnout/gateway/store"
)

type auditCmd struct {
	Export auditExportCmd `cmd:"" help:"Write the audit log of a tenant, with its checkpoints, to a file that can be verified anywhere."`
	Verify auditVerifyCmd `cmd:"" help:"Verify an export, without a node and without a network. Exit code 0: it holds, 2: it does not, 1: it could not be looked at."`
	Key    auditKeyCmd    `cmd:"" help:"Print the key with which the checkpoints of a node are verified."`
}

type auditExportCmd struct {
	nodeFlags
	Out  string `short:"o" default:"-" help:"The file to write; - for standard output."`
	Node bool   `help:"Export what belongs to no tenant: the operator's own log."`
}

func (c *auditExportCmd) Run(ctx context.Context) error {
	return toFile(c.Out, func(w io.Writer) error { return c.export(ctx, w) })
}

// export asks the node, or reads its folder when the node does not run.
func (c *auditExportCmd) export(ctx context.Context, w io.Writer) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	path := "/v1/admin/audit/export"
	if c.Node {
		path = "/v1/admin/node/audit/export"
	}
	body, err := node.Stream(ctx, "GET", path, nil)
	if c.Server == "" && c.Data == "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)) {
		return c.offline(ctx, w)
	}
	if err != nil {
		return err
	}
	defer body.Close()
	end := lastLine{}
	seen := showing(body, "exporting", 0)
	_, err = io.Copy(w, io.TeeReader(seen, &end))
	seen.done()
	if err != nil {
		return fmt.Errorf("reading the export: %w", err)
	}
	if !end.whole() {
		return errors.New("the node has ended the export early: its log says why")
	}
	return nil
}

// offline reads the folder of a node that does not run.
func (c *auditExportCmd) offline(ctx context.Context, w io.Writer) error {
	file := c.Config
	if file == "" {
		file = "turnout.yaml"
	}
	settings, err := config.LoadSettings(file)
	if err != nil {
		return err
	}
	tenant := c.Tenant
	if c.Node {
		tenant = store.Operator.Name()
	}
	fmt.Fprintln(os.Stderr, "The node does not run: reading its data folder.")
	_, err = gateway.ExportAudit(ctx, gateway.Options{Config: &config.Config{Dir: filepath.Dir(file), Settings: settings}, Log: slog.New(slog.DiscardHandler)}, tenant, w)
	return err
}

// lastLine remembers the end of what was written.
type lastLine struct{ tail []byte }

func (l *lastLine) Write(p []byte) (int, error) {
	l.tail = append(l.tail, p...)
	if i := bytes.LastIndexByte(bytes.TrimSuffix(l.tail, []byte("\n")), '\n'); i >= 0 {
		l.tail = append(l.tail[:0], l.tail[i+1:]...)
	}
	return len(p), nil
}

// whole reports whether it is the last line of an export.
func (l *lastLine) whole() bool {
	return bytes.HasPrefix(l.tail, []byte(`{"end":`)) && bytes.HasSuffix(l.tail, []byte("\n"))
}

type auditVerifyCmd struct {
	Export     string   `arg:"" help:"The export; - for standard input."`
	Key        []string `help:"The verifier's key, as \"turnout audit key\" prints it, or a file with it. From a source other than the export; several after a change of keys."`
	Checkpoint []string `type:"existingpath" help:"Outside copies of checkpoints: files, or folders of them."`
	Tenant     string   `help:"The tenant that the export must be of."`
	JSON       bool     `name:"json" help:"Print the verdict as JSON."`
}

// fails is the exit code for an export that does not hold.
const fails = 2

func (c *auditVerifyCmd) Run() error {
	o := audit.VerifyOptions{Tenant: c.Tenant}
	for _, key := range c.Key {
		if b, err := os.ReadFile(key); err == nil {
			key = string(b)
		}
		o.Keys = append(o.Keys, strings.TrimSpace(key))
	}
	for _, path := range c.Checkpoint {
		copies, err := readCopies(path)
		if err != nil {
			return err
		}
		o.Copies = append(o.Copies, copies...)
	}
	in, size := os.Stdin, int64(0)
	if c.Export != "-" {
		f, err := os.Open(c.Export)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
		if info, err := f.Stat(); err == nil {
			size = info.Size()
		}
	}
	seen := showing(in, "verifying", size)
	v, err := audit.VerifyExport(seen, o)
	seen.done()
	if err != nil {
		return err
	}
	if c.JSON {
		if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
			return err
		}
	} else {
		fmt.Println(v)
	}
	if !v.OK {
		return exit{code: fails}
	}
	return nil
}

// readCopies reads a file of outside copies, or all files of a folder.
func readCopies(path string) ([]audit.Copy, error) {
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		files = files[:0]
		for _, e := range entries {
			if e.Type().IsRegular() && !strings.HasSuffix(e.Name(), ".tmp") { // what a crash has left is no copy
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	var list []audit.Copy
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		some, err := audit.ReadCopies(file, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s holds no copy of a checkpoint", path)
	}
	return list, nil
}

type auditKeyCmd struct {
	Config string `required:"" type:"existingfile" help:"The settings file of the node."`
}

func (c *auditKeyCmd) Run() error {
	settings, err := config.LoadSettings(c.Config)
	if err != nil {
		return err
	}
	key, err := gateway.AuditKey(gateway.Options{Config: &config.Config{Dir: filepath.Dir(c.Config), Settings: settings}})
	if err != nil {
		return err
	}
	fmt.Println(key)
	return nil
}
