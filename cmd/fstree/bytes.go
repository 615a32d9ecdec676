package main

import (
	"fmt"
	"reflect"

	"github.com/alecthomas/kong"
)

// Arguments are bytes, as paths are; the parser's own way to read them would
// put replacement characters for what is not UTF-8.
var bytesMappers = []kong.Option{
	kong.KindMapper(reflect.String, kong.MapperFunc(mapText)),
	kong.NamedMapper("path", kong.MapperFunc(mapPath)),
}

func popText(ctx *kong.DecodeContext) (string, error) {
	token, err := ctx.Scan.PopValue("string")
	return fmt.Sprint(token.Value), err
}

func mapText(ctx *kong.DecodeContext, target reflect.Value) error {
	text, err := popText(ctx)
	if err == nil {
		target.SetString(text)
	}
	return err
}

// mapPath makes a path absolute. An empty one means the default, or none.
func mapPath(ctx *kong.DecodeContext, target reflect.Value) error {
	text, err := popText(ctx)
	if err == nil && text != "" {
		target.SetString(kong.ExpandPath(text))
	}
	return err
}
