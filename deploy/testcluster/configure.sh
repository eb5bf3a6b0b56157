#!/bin/bash
# Writes the configuration, keys and empty folders of a test cluster below its root.
set -euo pipefail
. "$(dirname "$0")/settings.sh"

mkdir -p "$ROOT"/{etc,log,run/mark,state,munge,mysql,spool,jobs,ssh,tmp}
chmod 755 "$ROOT"
chmod 1777 "$ROOT/jobs"
node_list="${PREFIX}[1-$NODES]"

# Daemons, and srun inside a job, listen only where their own name leads to, and answer to where a connection comes from: to each host
# its own name is 127.0.0.1. The others have addresses of their own, or an MPI would take them for itself.
hosts_for() { # the name of a host of the cluster
  echo "127.0.0.1 localhost ctl login $1"
  for j in $(seq $NODES); do [ "$PREFIX$j" = "$1" ] || echo "127.0.1.$j $PREFIX$j"; done
}
for host in ctl login $(seq -f "$PREFIX%g" $NODES); do hosts_for "$host" >"$ROOT/etc/hosts.$host"; done

(umask 077; head -c 128 /dev/urandom >"$ROOT/munge/key")
chmod 755 "$ROOT/munge"

(umask 077; cat >"$ROOT/etc/slurmdbd.conf" <<E
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/socket
DbdHost=ctl
DbdAddr=127.0.0.1
DbdPort=$DBD_PORT
CommunicationParameters=NoInAddrAny
SlurmUser=root
LogFile=$ROOT/log/slurmdbd.log
PidFile=$ROOT/run/slurmdbd.own.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$MYSQL_PORT
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
CommitDelay=1
E
)

# how memory is enforced: by cgroup v1 where its memory controller is mounted, else by v2, else by sampling
if [ -d /sys/fs/cgroup/memory ]; then cgroup=cgroup/v1
elif [ -e /sys/fs/cgroup/cgroup.controllers ]; then cgroup=cgroup/v2
else cgroup=; fi
if [ -n "$cgroup" ]; then
  limits="ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/cgroup"
else
  limits="ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill,UsePSS"
fi
cat >"$ROOT/etc/cgroup.conf" <<E
CgroupPlugin=${cgroup:-disabled}
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainCores=no
ConstrainRAMSpace=yes
ConstrainSwapSpace=no
ConstrainDevices=no
AllowedRAMSpace=100
$([ "$cgroup" != cgroup/v2 ] || echo IgnoreSystemd=yes)
E

echo "NodeName=$PREFIX$NODES Name=gpu File=/dev/null" >"$ROOT/etc/gres.conf"
cat >"$ROOT/etc/slurm.conf" <<E
ClusterName=testcluster
SlurmctldHost=ctl(127.0.0.1)
SlurmctldPort=$CTL_PORT
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$ROOT/state
SlurmdSpoolDir=$ROOT/spool/%n
SlurmctldPidFile=$ROOT/run/slurmctld.own.pid
SlurmdPidFile=$ROOT/run/slurmd-%n.own.pid
SlurmctldLogFile=$ROOT/log/slurmctld.log
SlurmdLogFile=$ROOT/log/slurmd-%n.log
SlurmctldDebug=info
SlurmdDebug=info
MpiDefault=pmi2
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=20
InactiveLimit=0
KillWait=5
MinJobAge=30
MessageTimeout=10
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=2,sched_interval=5,max_rpc_cnt=0,nohold_on_prolog_fail
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
EnforcePartLimits=ALL
MaxArraySize=10001
MaxJobCount=100000
DefMemPerCPU=500
JobAcctGatherFrequency=1
JobRequeue=1
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$DBD_PORT
AccountingStoragePass=$ROOT/munge/socket
AccountingStorageEnforce=associations,limits,qos
AccountingStoreFlags=job_comment
SlurmdParameters=config_overrides
LaunchParameters=use_interactive_step
GresTypes=gpu
Licenses=assembler:2
$limits
$(for i in $(seq $NODES); do
  extra=
  [ "$i" -gt 2 ] || extra=" Feature=fast"
  [ "$i" -ne $NODES ] || extra=" Gres=gpu:1"
  echo "NodeName=$PREFIX$i NodeHostname=$PREFIX$i NodeAddr=127.0.0.1 Port=$((NODE_PORT + i)) CPUs=$NODE_CORES Boards=1 SocketsPerBoard=1" \
    "CoresPerSocket=$NODE_CORES ThreadsPerCore=1 RealMemory=$NODE_MEMORY_MB State=UNKNOWN$extra"
done)
PartitionName=debug Nodes=$node_list Default=YES MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
PartitionName=short Nodes=$node_list MaxTime=5 DefaultTime=1 MaxNodes=2 PriorityTier=10 PreemptMode=OFF
PartitionName=preemptible Nodes=$node_list MaxTime=1-00:00:00 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=closed Nodes=$node_list MaxTime=60 State=DOWN
E

# a login node: an SSH server with keys of its own, for whoever runs the tests
for key in host client; do ssh-keygen -q -t ed25519 -N '' -C "packhorse test cluster, $key" -f "$ROOT/ssh/${key}_key"; done
cp "$ROOT/ssh/client_key.pub" "$ROOT/ssh/authorized_keys"
echo "[127.0.0.1]:$SSH_PORT $(cut -d' ' -f1,2 "$ROOT/ssh/host_key.pub")" >"$ROOT/ssh/known_hosts"
mkdir -p "$ROOT/ssh/home" # without start-up files, which may be slow, or wait for locks
cat >"$ROOT/ssh/sshd_config" <<E
ListenAddress 127.0.0.1:$SSH_PORT
HostKey $ROOT/ssh/host_key
PidFile $ROOT/run/sshd.own.pid
AuthorizedKeysFile $ROOT/ssh/authorized_keys
AllowUsers $OWNER
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PrintMotd no
MaxStartups 100
MaxSessions 100
SetEnv SLURM_CONF=$SLURM_CONF HOME=$ROOT/ssh/home
Subsystem sftp internal-sftp
E
[ "$OWNER" = root ] || chown "$OWNER" "$ROOT/ssh/client_key" "$ROOT/ssh/known_hosts" "$ROOT/ssh/home"

cat >"$ROOT/env" <<E
export SLURM_CONF=$SLURM_CONF
export TESTCLUSTER_ROOT=$ROOT
export TESTCLUSTER_NODES=$(for i in $(seq $NODES); do printf '%s%s' "$PREFIX$i" "$([ "$i" = $NODES ] || echo ,)"; done)
export TESTCLUSTER_SSH_PORT=$SSH_PORT
export TESTCLUSTER_SSH_USER=$OWNER
export TESTCLUSTER_SSH_KEY=$ROOT/ssh/client_key
export TESTCLUSTER_SSH_KNOWN_HOSTS=$ROOT/ssh/known_hosts
export PACKHORSE_CONFIG=$ROOT/packhorse.toml
E

# Packhorse's own view of it: by this machine's own commands and files, and over SSH
site() { # its name, then further lines
  cat <<E
[sites.$1]
scheduler = "slurm"
root = "$ROOT/jobs/$1"
python = "$(command -v python3)"
max_nodes = $NODES
$2
[sites.$1.env]
PATH = "$PATH"
# the nodes share this machine's cores: who waits for a message should not spin
OMPI_MCA_mpi_yield_when_idle = "1"
OMPI_ALLOW_RUN_AS_ROOT = "1"
OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = "1"

E
}
{
  site testcluster ""
  site testcluster-ssh "transport = \"ssh\"
host = \"127.0.0.1\"
port = $SSH_PORT
user = \"$OWNER\"
key_file = \"$ROOT/ssh/client_key\"
known_hosts = \"$ROOT/ssh/known_hosts\""
} >"$ROOT/packhorse.toml"
