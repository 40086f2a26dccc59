#!/usr/bin/env bash
# A Slurm cluster on this machine: real slurmctld, two slurmd and munge, unprivileged ports, everything in one folder.
#
#   apt-get install slurm-wlm munge
#   source experiments/launching/slurm/localhost.sh start /tmp/slurm    # then sbatch, squeue, scontrol work in this shell
#   source experiments/launching/slurm/localhost.sh stop /tmp/slurm
#
# For trying out and testing submit files, as root (slurmd requires it); not for a cluster.

slurm_start() {
  local folder=$1 cores memory host node port
  mkdir -p "$folder"/{state,log} && chmod 755 "$folder" || return
  cores=$(nproc); memory=$(($(awk '/^MemTotal/ {print $2}' /proc/meminfo) / 1024 - 500)); host=$(hostname -s)
  (umask 077 && head -c 1024 /dev/urandom > "$folder/munge.key")
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/log/munged.log" --seed-file="$folder/munge.seed" || return
  cat > "$folder/slurm.conf" <<CONF
ClusterName=localhost
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=2,sched_interval=2
JobRequeue=1
KillWait=60
ReturnToService=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  # Two nodes of half the machine each; both live on this host, each with a port of its own.
  for node in n1 n2; do
    port=$((26818 + ${node#n}))
    echo "NodeName=$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$port CPUs=$((cores > 1 ? cores / 2 : 1))" \
      "RealMemory=$((memory / 2))" >> "$folder/slurm.conf"
  done
  export SLURM_CONF=$folder/slurm.conf
  slurmctld || return
  for node in n1 n2; do mkdir -p "$folder/spool.$node" && slurmd -N "$node" || return; done
  for _ in $(seq 60); do [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = 2 ] && break; sleep 0.5; done
  sinfo
}

slurm_stop() {
  local folder=$1 file
  export SLURM_CONF=$folder/slurm.conf
  scancel --full --state=RUNNING,PENDING --me 2>/dev/null
  for _ in $(seq 200); do [ -z "$(squeue -h 2>/dev/null)" ] && break; sleep 0.5; done
  for file in "$folder"/slurmd.*.pid "$folder"/slurmctld.pid "$folder"/munged.pid; do
    [ -e "$file" ] && kill "$(cat "$file")"
  done
  unset SLURM_CONF
}

case ${1:-} in
  start) slurm_start "$(realpath -m "${2:?a folder}")" ;;
  stop) slurm_stop "$(realpath -m "${2:?a folder}")" ;;
  *) echo "usage: source ${BASH_SOURCE[0]} start|stop FOLDER" >&2 ;;
esac
