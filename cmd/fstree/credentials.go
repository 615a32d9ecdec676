package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
)

// credentials are how the program shows who it is to a remote, and whom it
// trusts. A token is never an option: options can be seen by everybody.
type credentials struct {
	TLSCA     string `name:"tls-ca" env:"FSTREE_TLS_CA" type:"path" placeholder:"FILE" help:"Authorities to trust for jolts:// and https://, in PEM form; default is the system's."`
	TLSCert   string `name:"tls-cert" env:"FSTREE_TLS_CERT" type:"path" placeholder:"FILE" help:"Certificate to show to the remote."`
	TLSKey    string `name:"tls-key" env:"FSTREE_TLS_KEY" type:"path" placeholder:"FILE" help:"Key of that certificate."`
	TokenFile string `env:"FSTREE_TOKEN_FILE" type:"path" placeholder:"FILE" help:"File with the bearer token for the remote; or set FSTREE_TOKEN."`
}

func (c *credentials) tls() (*tls.Config, error) {
	var config tls.Config
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tls-ca: %s holds no certificate in PEM form", c.TLSCA)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return nil, errors.New("--tls-cert and --tls-key go together")
	}
	if c.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &config, nil
}

func (c *credentials) token() (string, error) {
	if c.TokenFile == "" {
		return os.Getenv("FSTREE_TOKEN"), nil
	}
	text, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("--token-file: %s does not hold one token", c.TokenFile)
	}
	return token, nil
}
