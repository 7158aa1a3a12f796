package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"turnout/gateway"
	"turnout/gateway/api/client"
	"turnout/gateway/config"
)

type storeCmd struct {
	Backup  storeBackupCmd  `cmd:"" help:"Copy the store of a node, running or not, into a new folder. Keys are not copied."`
	Restore storeRestoreCmd `cmd:"" help:"Make the store of a node that does not run from a backup."`
	Copy    storeCopyCmd    `cmd:"" help:"Copy the store of one configuration into that of another, embedded or Redis, while no node runs."`
	Check   storeCheckCmd   `cmd:"" help:"Read everything in the store of a node, running or not, or in a backup, and tell what is wrong."`
}

// storeFlags say which node's store a command is for. The running node is asked over its socket.
type storeFlags struct {
	Config string `default:"turnout.yaml" type:"existingfile" help:"The settings file of the node."`
	JSON   bool   `name:"json" help:"Print what came of it as JSON."`
}

// options are those of a node that does not run.
func (f *storeFlags) options() (gateway.Options, error) { return optionsOf(f.Config) }

func optionsOf(file string) (gateway.Options, error) {
	settings, err := config.LoadSettings(file)
	if err != nil {
		return gateway.Options{}, err
	}
	return gateway.Options{Config: &config.Config{Dir: filepath.Dir(file), Settings: settings}}, nil
}

// ask lets the running node do something; false when none runs.
func (f *storeFlags) ask(ctx context.Context, o gateway.Options, path string, body any) (last gateway.StorageLine, ran bool, err error) {
	node := client.Socket(filepath.Join(o.Config.Data, gateway.SocketName), "")
	answer, err := node.Stream(ctx, "POST", "/v1/admin/node/"+path, body)
	if errors.Is(err, client.ErrNoNode) {
		return last, false, nil
	}
	if err != nil {
		return last, true, err
	}
	defer func() { err = errors.Join(err, answer.Close()) }()
	show := shown()
	defer show.end()
	for lines := json.NewDecoder(bufio.NewReader(answer)); ; {
		var line struct {
			gateway.StorageLine
			Error string `json:"error"`
		}
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return last, true, errors.New("the node has ended early, its log says why")
		case err != nil:
			return last, true, fmt.Errorf("reading the answer: %w", err)
		case line.Error != "":
			return last, true, errors.New(line.Error)
		case line.Done:
			return line.StorageLine, true, nil
		}
		show.line(line.StorageLine)
	}
}

// lines shows on a terminal how far something has come.
type lines struct {
	out  io.Writer // nil: nobody looks
	last time.Time
}

func shown() *lines {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return &lines{out: os.Stderr}
	}
	return &lines{}
}

func (l *lines) line(s gateway.StorageLine) {
	if l.out != nil && time.Since(l.last) >= time.Second {
		l.last = time.Now()
		fmt.Fprintf(l.out, "\r%d files, %d MiB", s.Files, s.Bytes>>20)
	}
}

func (l *lines) end() {
	if !l.last.IsZero() {
		fmt.Fprintln(l.out)
	}
}

// print tells what came of it.
func (f *storeFlags) print(last gateway.StorageLine, sentence string, args ...any) error {
	if f.JSON {
		return json.NewEncoder(os.Stdout).Encode(last)
	}
	fmt.Printf(sentence+"\n", args...)
	return nil
}

type storeBackupCmd struct {
	storeFlags
	To string `arg:"" type:"path" help:"The folder to make. It must not be there yet."`
}

func (c *storeBackupCmd) Run(ctx context.Context) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	last, ran, err := c.ask(ctx, o, "backup", map[string]string{"to": c.To})
	if !ran {
		show := shown()
		last, err = gateway.Backup(ctx, o, c.To, show.line)
		show.end()
	}
	if err != nil {
		return err
	}
	if !c.JSON {
		defer fmt.Fprintln(os.Stderr, "It holds no keys: keep a copy of root.key in a place of its own, or the backup cannot be read. Keep the list of erasures (data/store.erased) beside it: what is erased from now on is in no older backup's manifest.")
	}
	return c.print(last, "backed up %d files, %d bytes, as of %s", last.Files, last.Bytes, last.At.Format(time.RFC3339))
}

type storeRestoreCmd struct {
	storeFlags
	From   string   `arg:"" type:"existingdir" help:"The folder of the backup."`
	Erased []string `type:"existingfile" help:"Lists of erasures to carry out again, beside the one in the data folder."`
}

func (c *storeRestoreCmd) Run(ctx context.Context) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	show := shown()
	last, err := gateway.Restore(ctx, o, c.From, c.Erased, show.line)
	show.end()
	if err != nil {
		return err
	}
	return c.print(last, "restored %d files, %d bytes, as of %s; %d conversations were erased again", last.Files, last.Bytes, last.At.Format(time.RFC3339), last.Erased)
}

type storeCheckCmd struct {
	storeFlags
	Backup string `type:"existingdir" help:"Check this backup instead of the store."`
	Repair bool   `help:"Make anew what follows from the conversations: lists of work, timers and outboxes, access paths, queue views. Logs, states and audit chains are never touched."`
}

func (c *storeCheckCmd) Run(ctx context.Context) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	if c.Backup != "" {
		if c.Repair {
			return errors.New("a backup is not repaired: restore it, and repair the store")
		}
		show := shown()
		last, err := gateway.CheckBackup(ctx, o, c.Backup, show.line)
		show.end()
		if err != nil {
			return err
		}
		return c.print(last, "the backup is whole: %d files, %d bytes, as of %s", last.Files, last.Bytes, last.At.Format(time.RFC3339))
	}
	last, ran, err := c.ask(ctx, o, "check", map[string]bool{"repair": c.Repair})
	if !ran {
		last, err = gateway.CheckStore(ctx, o, c.Repair)
	}
	if err != nil {
		return err
	}
	if !c.JSON {
		for _, m := range last.Mended {
			fmt.Println("mended:", m)
		}
		for _, f := range last.Faults {
			fmt.Println(f)
		}
	}
	if c.Repair {
		if err := c.print(last, "%d conversations, %d events, %d files: %d mended, %d faults left", last.Conversations, last.Events, last.Blobs, last.MendedCount, last.FaultCount); err != nil {
			return err
		}
	} else if err := c.print(last, "%d conversations, %d events, %d files: %d faults", last.Conversations, last.Events, last.Blobs, last.FaultCount); err != nil {
		return err
	}
	if last.FaultCount > 0 {
		return exit{code: fails}
	}
	return nil
}
