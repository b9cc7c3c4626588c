# SPDX-License-Identifier: MIT
"""Real POP3 clients as Debian has them. Each function logs in as alice, fetches every message and deletes it from the
server, and returns the messages in order, as the client stored them. `over` is plain, stls or tls."""

import os
import poplib
import subprocess

from daemon import HOST, IS_ROOT, WAIT

NOBODY = 65534


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, timeout=2 * WAIT, check=False, **more)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def in_order(folder):
    return [path.read_bytes() for path in sorted(folder.iterdir(), key=lambda path: (path.stat().st_mtime_ns, path.name))]


def curl(daemon, over, folder):
    scheme, port = ("pop3s", daemon.tls_port) if over == "tls" else ("pop3", daemon.port)
    options = ["curl", "-sS", "--max-time", WAIT, "--user", "alice:sesame", "--cacert", daemon.certificates[0][0]]
    if over == "stls":
        options.append("--ssl-reqd")
    url = f"{scheme}://{HOST}:{port}/"
    listed = [line.split() for line in run(*options, url).splitlines()]
    fetched = [run(*options, url + number.decode()) for number, _ in listed]
    assert [len(octets) for octets in fetched] == [int(octets) for _, octets in listed]
    for number, _ in reversed(listed):  # each call is a session, and numbers move up
        run(*options, "--head", "-X", f"DELE {number.decode()}", url)
    return fetched


def fetchmail(daemon, over, folder):
    (folder / "mail").mkdir()
    deliver = folder / "deliver"
    deliver.write_text(f'#!/bin/sh\nn=$(ls {folder}/mail | wc -l)\nexec cat >{folder}/mail/$(printf %05d "$n")\n',
                       encoding="ascii")
    deliver.chmod(0o755)
    port = daemon.tls_port if over == "tls" else daemon.port
    secure = {"plain": "sslproto ''", "stls": "sslproto 'TLS1.2+' sslcertck", "tls": "ssl sslproto 'TLS1.2+' sslcertck"}
    rc = folder / "fetchmailrc"
    rc.write_text(f"set invisible\npoll localhost service {port} proto pop3 timeout {WAIT} no dns\n"
                  f"  user alice password sesame mda '{deliver}' fetchall nokeep no rewrite\n"
                  f"  {secure[over]} sslcertfile {daemon.certificates[0][0]}\n", encoding="ascii")
    rc.chmod(0o600)
    run("fetchmail", "--silent", "--fetchmailrc", rc, "--pidfile", folder / "pid", "--idfile", folder / "ids",
        env={"PATH": "/usr/bin:/bin", "FETCHMAILHOME": str(folder), "HOME": str(folder), "USER": "root", "LOGNAME": "root"})
    return in_order(folder / "mail")


def mpop(daemon, over, folder):
    for name in ("", "cur", "new", "tmp"):
        (folder / "mail" / name).mkdir()
    port = daemon.tls_port if over == "tls" else daemon.port
    rc = folder / "mpoprc"
    rc.write_text(f"account default\nhost localhost\nport {port}\nuser alice\npassword sesame\nauth user\n"
                  f"tls {'off' if over == 'plain' else 'on'}\ntls_starttls {'on' if over == 'stls' else 'off'}\n"
                  f"tls_trust_file {daemon.certificates[0][0]}\ndelivery maildir {folder}/mail\nkeep off\nonly_new off\n"
                  f"received_header off\nuidls_file {folder}/uidls\ntimeout {WAIT}\n", encoding="ascii")
    rc.chmod(0o600)
    run("mpop", "--quiet", "--file", rc)
    return in_order(folder / "mail/new")


def getmail(daemon, over, folder):
    """getmail 6.18 waits in vain for a delivery that ends before it has begun to wait: ours takes its time."""
    (folder / "mail").mkdir()
    deliver = folder / "deliver"
    deliver.write_text(f'#!/bin/sh\nn=$(ls {folder}/mail | wc -l)\ncat >{folder}/mail/$(printf %05d "$n")\nsleep 0.3\n',
                       encoding="ascii")
    deliver.chmod(0o755)
    kind, port = ("SimplePOP3SSLRetriever", daemon.tls_port) if over == "tls" else ("SimplePOP3Retriever", daemon.port)
    trust = f"ca_certs = {daemon.certificates[0][0]}\n" if over == "tls" else ""
    rc = folder / "getmailrc"
    rc.write_text(f"[retriever]\ntype = {kind}\nserver = localhost\nport = {port}\nusername = alice\npassword = sesame\n"
                  f"timeout = {WAIT}\n{trust}[destination]\ntype = MDA_external\npath = {deliver}\n[options]\n"
                  "delete = true\nread_all = true\nverbose = 0\ndelivered_to = false\nreceived = false\n", encoding="ascii")
    rc.chmod(0o600)
    who = {}
    if IS_ROOT:  # getmail delivers no mail as root
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        for path in (folder, rc, folder / "mail"):
            os.chown(path, NOBODY, NOBODY)
    run("getmail", "--getmaildir", folder, "--rcfile", rc, **who)
    return [octets.removeprefix(b"Return-Path: <unknown>\n") for octets in in_order(folder / "mail")]


def python_poplib(daemon, over, folder):
    if over == "tls":
        client = poplib.POP3_SSL("localhost", daemon.tls_port, timeout=WAIT, context=daemon.tls_context())
    else:
        client = poplib.POP3("localhost", daemon.port, timeout=WAIT)
    if over == "stls":
        client.stls(daemon.tls_context())
    client.user("alice")
    client.pass_("sesame")
    count, octets = client.stat()
    sizes = [int(line.split()[1]) for line in client.list()[1]]
    assert len(sizes) == count and sum(sizes) == octets and len(client.uidl()[1]) == count
    fetched = [b"".join(line + b"\r\n" for line in client.retr(number)[1]) for number in range(1, count + 1)]
    assert [len(message) for message in fetched] == sizes
    for number in range(1, count + 1):
        assert client.top(number, 0)[1]
        client.dele(number)
    client.quit()
    return fetched


PERL = r"""
use strict;
use Net::POP3;
my ($port, $folder) = @ARGV;
my $client = Net::POP3->new("127.0.0.1", Port => $port, Timeout => 30) or die "no connection: $@";
my $count = $client->login("alice", "sesame");
defined $count or die "no login: " . $client->message;
my $sizes = $client->list or die "no list";
my $uids = $client->uidl or die "no unique-ids";
keys %$sizes == $count && keys %$uids == $count or die "counts differ";
for my $number (sort { $a <=> $b } keys %$sizes) {
	open my $file, ">:raw", sprintf("%s/%05d", $folder, $number) or die;
	my $lines = $client->get($number) or die "no message $number";
	print $file @$lines;
	close $file or die;
	$client->top($number, 0) or die "no top of $number";
	$client->delete($number) or die "no deletion of $number";
}
$client->quit or die "no quit";
"""


def perl_net_pop3(daemon, over, folder):
    (folder / "mail").mkdir()
    run("perl", "-e", PERL, daemon.port, folder / "mail")
    return in_order(folder / "mail")


def snail(daemon, over, folder):
    """s-nail's `copy` writes an mbox of one message each: its first line, a quoted From and a Status are its own."""
    scheme, port = ("pop3s", daemon.tls_port) if over == "tls" else ("pop3", daemon.port)
    options = ["v15-compat", f"tls-ca-file={daemon.certificates[0][0]}", "tls-ca-no-defaults", "tls-verify=strict"]
    if over == "stls":
        options.append("pop3-use-starttls")
    with daemon.log_in() as client:
        count = int(client.ask("STAT").split()[1])
        client.quit()
    (folder / "mail").mkdir()
    commands = "".join(f"copy {number} {folder}/mail/{number:05}\n" for number in range(1, count + 1))
    command = ["s-nail", "-#", "-:/"]
    for option in options:
        command += ["-S", option]
    run(*command, "-f", f"{scheme}://alice:sesame@localhost:{port}", env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        input=f"{commands}delete 1-{count}\nquit\n".encode())
    mail = []
    for octets in in_order(folder / "mail"):
        lines = octets.split(b"\n")[1:-2]  # the "From " line; an empty line at the end
        lines = [line for line in lines if not line.startswith((b"Status: ", b"X-Status: "))]
        if b"" not in lines:
            lines.append(b"")  # of a message without body it keeps one empty line, not two
        mail.append(b"".join(line + b"\n" for line in lines))
    return mail


def openssl(daemon, over, folder):
    """A person at `openssl s_client`. Reads to the end; the client needs its input open until then."""
    options = ["-connect", f"{HOST}:{daemon.tls_port}"] if over == "tls" else ["-connect", f"{HOST}:{daemon.port}", "-starttls",
                                                                              "pop3"]
    with subprocess.Popen(["openssl", "s_client", "-quiet", "-crlf", "-verify_return_error", "-CAfile",
                           daemon.certificates[0][0], *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as client:
        def ask(line, end=b"\r\n"):
            client.stdin.write(line.encode() + b"\n")
            client.stdin.flush()
            reply = client.stdout.readline()
            assert reply.startswith(b"+OK"), (line, reply)
            body = reply
            while not body.endswith(end):
                body += client.stdout.readline()
            return body[len(reply):-len(end)]
        if over == "tls":
            assert client.stdout.readline().startswith(b"+OK")
        ask("USER alice")
        ask("PASS sesame")
        listed = ask("LIST", b"\r\n.\r\n").splitlines()
        fetched = []
        for number in range(1, len(listed) + 1):
            lines = ask(f"RETR {number}", b"\r\n.\r\n").split(b"\r\n")
            fetched.append(b"".join(line[line.startswith(b"."):] + b"\r\n" for line in lines))
            ask(f"DELE {number}")
        ask("QUIT")
    return fetched


CLIENTS = {
    "curl": (curl, ("plain", "stls", "tls")),
    "fetchmail": (fetchmail, ("plain", "stls", "tls")),
    "mpop": (mpop, ("plain", "stls", "tls")),
    "getmail": (getmail, ("plain", "tls")),
    "poplib": (python_poplib, ("plain", "stls", "tls")),
    "Net::POP3": (perl_net_pop3, ("plain",)),
    "s-nail": (snail, ("plain", "stls", "tls")),
    "openssl": (openssl, ("stls", "tls")),
}
