package disk

import (
	"fmt"
	"log/slog"
	"strings"
)

// badgerLog takes what Badger says, all of it at debug level.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) say(format string, args ...any) {
	l.log.Debug("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l badgerLog) Errorf(format string, args ...any)   { l.say(format, args...) }
func (l badgerLog) Warningf(format string, args ...any) { l.say(format, args...) }
func (l badgerLog) Infof(format string, args ...any)    { l.say(format, args...) }
func (l badgerLog) Debugf(format string, args ...any)   { l.say(format, args...) }
