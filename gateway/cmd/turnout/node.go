package main

import (
	"errors"
	"os"
	"path/filepath"

	"turnout/adapters"
	"turnout/gateway"
	"turnout/gateway/api/client"
	"turnout/gateway/config"
)

// nodeFlags say which node a command is for.
type nodeFlags struct {
	Config string             `type:"existingfile" help:"The settings file of a node on this machine; ./turnout.yaml if there is one. Its socket is used."`
	Data   string             `type:"existingdir" help:"The data folder of a node on this machine, instead of its settings file."`
	Server string             `help:"The URL of a node elsewhere, such as https://chat.example.com."`
	Key    adapters.SecretRef `help:"Where the API key for --server is: env:NAME or file:PATH."`
	Tenant string             `help:"The tenant, if the node on this machine has several."`
}

// client returns a client of the node that the flags name.
func (f *nodeFlags) client() (*client.Client, error) {
	if f.Server != "" {
		if f.Key == "" {
			return nil, errors.New("--server needs --key env:NAME or --key file:PATH")
		}
		key, err := config.Secrets{LookupEnv: os.LookupEnv}.Resolve(f.Key)
		if err != nil {
			return nil, err
		}
		return client.Remote(f.Server, key)
	}
	data := f.Data
	if data == "" {
		file := f.Config
		if file == "" {
			file = "turnout.yaml"
		}
		settings, err := config.LoadSettings(file)
		if f.Config == "" && errors.Is(err, os.ErrNotExist) {
			return nil, errors.New("which node? Give --config FILE or --data FOLDER, or --server URL --key REF for one elsewhere")
		}
		if err != nil {
			return nil, err
		}
		data = settings.Data
	}
	return client.Socket(filepath.Join(data, gateway.SocketName), f.Tenant), nil
}
