package bench

import (
	"fmt"
	"os/exec"
	"path/filepath"
)

// findNginx returns the path of nginx. Distributions put it where only root looks.
func findNginx() (string, bool) {
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, true
		}
	}
	return "", false
}

// nginxConfig is a proxy without a log. Everything that nginx writes lies in dir; no body here is ever large enough to
// go through a file.
func nginxConfig(dir, listen, upstream string) string {
	temp := filepath.Join(dir, "temp")
	return fmt.Sprintf(`worker_processes 2;
daemon off;
pid %[1]q;
error_log stderr error;
events { worker_connections 8192; }
http {
	access_log off;
	server_tokens off;
	client_body_temp_path %[2]q;
	proxy_temp_path %[2]q;
	fastcgi_temp_path %[2]q;
	uwsgi_temp_path %[2]q;
	scgi_temp_path %[2]q;
	keepalive_requests 1000000000;
	upstream bot {
		server %[4]s;
		keepalive 1024;
		keepalive_requests 1000000000;
	}
	server {
		listen %[3]s backlog=4096;
		location / {
			proxy_pass http://bot;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`, filepath.Join(dir, "nginx.pid"), temp, listen, upstream)
}
