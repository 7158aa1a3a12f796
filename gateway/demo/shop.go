package demo

import (
	"embed"
	"path"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
)

//go:embed shop
var shop embed.FS

// ShopPath is where the sample shop is.
const ShopPath = "/shop/"

// shopPolicy is as strict as a shop's can be that has the chat from its own origin.
const shopPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

var shopKinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// shopRoutes serve the sample shop, and lead to it from the bare address.
func shopRoutes() (out []adapters.Route) {
	get := func(at string, h fasthttp.RequestHandler) {
		for _, method := range []string{fasthttp.MethodGet, fasthttp.MethodHead} {
			out = append(out, adapters.Route{Method: method, Path: at, Handler: h})
		}
	}
	files, err := shop.ReadDir("shop")
	if err != nil {
		panic("reading an embedded folder: " + err.Error())
	}
	for _, f := range files {
		body, err := shop.ReadFile("shop/" + f.Name())
		if err != nil {
			panic("reading an embedded file: " + err.Error())
		}
		at := ShopPath + f.Name()
		if f.Name() == "index.html" {
			at = ShopPath
		}
		get(at, func(ctx *fasthttp.RequestCtx) {
			h := &ctx.Response.Header
			h.Set(fasthttp.HeaderContentSecurityPolicy, shopPolicy)
			h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
			h.Set(fasthttp.HeaderReferrerPolicy, "no-referrer")
			h.Set(fasthttp.HeaderCacheControl, "no-cache")
			h.SetContentType(shopKinds[path.Ext(f.Name())])
			ctx.SetBody(body)
		})
	}
	get("/", func(ctx *fasthttp.RequestCtx) {
		ctx.Response.Header.Set(fasthttp.HeaderLocation, ShopPath) // relative: whatever name the machine was called by
		ctx.SetStatusCode(fasthttp.StatusFound)
	})
	return out
}
