# Tries to do what a broken-into gateway might try, and prints how each attempt ended: "NAME<tab>done" or the error.
# For x86-64: system calls without a Perl name go by their number.
use strict;
use Fcntl;
use Socket;

my ($state, $runtime) = @ARGV;
my %number = (
    mmap => 9, ptrace => 101, syslog => 103, setuid => 105, personality => 135, setpriority => 141,
    sched_setscheduler => 144, mount => 165, sethostname => 170, init_module => 175, clock_settime => 227,
    keyctl => 250, unshare => 272, bpf => 321, userfaultfd => 323, memfd_create => 319, io_uring_setup => 425,
);

sub call { my $name = shift; return syscall($number{$name}, @_) != -1; }
sub writes { my $file = shift; my $ok = sysopen(my $f, $file, O_WRONLY | O_CREAT, 0600); $ok && unlink $file; return $ok; }
sub reads { my $ok = open(my $f, '<', shift); return $ok && defined sysread($f, my $byte, 1); }
sub lists { return opendir(my $d, shift); }
sub connects { return socket(my $s, shift, shift, shift); }
# Whether the program could be started: a child that could not says why by its exit code.
sub starts {
    my $program = shift;
    my $child = fork() // return 0;
    if (!$child) { open(STDOUT, '>', '/dev/null'); exec($program, '--version') or exit(100 + $!); }
    waitpid($child, 0);
    my $code = $? >> 8;
    $! = $code > 100 ? $code - 100 : 0;
    return $code <= 100;
}
sub own_program {
    my $file = "$state/program";
    open(my $f, '>', $file) or return 0;
    print $f "#!/bin/sh\n";
    close $f;
    chmod 0700, $file;
    my $ok = starts($file);
    my $error = $!;
    unlink $file;
    $! = $error;
    return $ok;
}
sub set_user_id {
    my $file = "$state/suid";
    open(my $f, '>', $file) or return 0;
    my $ok = chmod 04755, $file;
    my $error = $!;
    unlink $file;
    $! = $error;
    return $ok;
}

my @attempts = (
    ['write its state', sub { writes("$state/x") }],
    ['write its runtime directory', sub { writes("$runtime/x") }],
    ['write a temporary file', sub { writes('/tmp/x') }],
    ['read its own credential', sub { reads("$ENV{CREDENTIALS_DIRECTORY}/secret_AGENT_TOKEN") }],
    ['read the configuration', sub { reads('/etc/agentpass/config.yaml') }],
    ['an internet socket', sub { connects(AF_INET, SOCK_STREAM, 0) }],
    ['a local socket', sub { connects(AF_UNIX, SOCK_STREAM, 0) }],

    ['write the configuration', sub { writes('/etc/agentpass/config.yaml.new') }],
    ['write /etc', sub { writes('/etc/x') }],
    ['write /usr', sub { writes('/usr/bin/x') }],
    ['write /var/lib', sub { writes('/var/lib/x') }],
    ['write /run', sub { writes('/run/x') }],
    ['write /opt', sub { writes('/opt/x') }],
    ['read the secrets where they lie', sub { reads('/etc/agentpass/secrets/AGENT_TOKEN') }],
    ["read another service's credential", sub { reads('/run/credentials/other.service/key') }],
    ['read /etc/shadow', sub { reads('/etc/shadow') }],
    ['read a home directory', sub { reads('/home/pi/diary') }],
    ['list a home directory', sub { lists('/home/pi') }],
    ['list /root', sub { lists('/root') }],
    ['see the first process', sub { lists('/proc/1') }],
    ['read kernel settings', sub { reads('/proc/sys/kernel/hostname') }],
    ['read the kernel log', sub { call('syslog', 3, my $b = ' ' x 64, 64) }],
    ['start a shell', sub { starts('/bin/sh') }],
    ['start a program of its own', sub { own_program() }],
    ['make a set-user-id file', sub { set_user_id() }],
    ['writable and executable memory', sub { call('mmap', 0, 4096, 7, 0x22, -1, 0) }],
    ['a new user namespace', sub { call('unshare', 0x10000000) }],
    ['a new mount namespace', sub { call('unshare', 0x00020000) }],
    ['mount', sub { call('mount', my $t = 'tmpfs', my $d = '/mnt', my $f = 'tmpfs', 0, 0) }],
    ['change the root', sub { chroot('/var') && chroot('.') }],
    ['become root', sub { call('setuid', 0) }],
    ['name the machine', sub { call('sethostname', my $n = 'gateway', 7) }],
    ['a higher priority', sub { call('setpriority', 0, 0, -5) }],
    ['realtime scheduling', sub { call('sched_setscheduler', 0, 1, my $p = pack('i', 1)) }],
    ['another personality', sub { call('personality', 0x0008) }],
    ['trace a process', sub { call('ptrace', 0, 0, 0, 0) }],
    ["the session's keyring", sub { call('keyctl', 0, -3, 1) }],
    ['a packet socket', sub { connects(17, SOCK_RAW, 768) }],
    ['a raw socket', sub { connects(AF_INET, SOCK_RAW, 1) }],
    ['a netlink socket', sub { connects(16, SOCK_RAW, 0) }],
    ['bpf', sub { call('bpf', 0, my $a = "\0" x 128, 128) }],
    ['userfaultfd', sub { call('userfaultfd', 1) }],
    ['io_uring', sub { call('io_uring_setup', 1, my $r = "\0" x 256) }],
    ['signal the first process', sub { kill(0, 1) }],
);

$| = 1;
for my $attempt (@attempts) {
    my ($name, $try) = @$attempt;
    # Each in a process of its own: what one is granted does not help the next.
    my $child = fork() // die;
    if (!$child) {
        $! = 0;
        print "$name\t", ($try->() ? 'done' : "$!"), "\n";
        exit 0;
    }
    waitpid($child, 0);
    print "$name\tkilled by signal ", ($? & 127), "\n" if $? & 127;
}
