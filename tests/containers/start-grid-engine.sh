#!/usr/bin/env bash
# Starts a real Grid Engine of one node on a Debian 12 machine as root, without systemd. Prints the pids to end when
# done, one a line. What runs jobs must have SGE_ROOT=/var/lib/gridengine in its environment.
set -euo pipefail
root=/var/lib/gridengine
export SGE_ROOT=$root SGE_CELL=default DEBIAN_FRONTEND=noninteractive
command -v sge_qmaster >/dev/null || apt-get install -y --no-install-recommends \
  gridengine-master gridengine-exec gridengine-client >/dev/null
# It takes no host whose address has another name.
echo localhost >$root/default/common/act_qmaster
echo "localhost $(hostname)" >$root/default/common/host_aliases
/usr/sbin/sge_qmaster >/dev/null 2>&1
for _ in $(seq 30); do qconf -sh >/dev/null 2>&1 && break; sleep 1; done
new=$(mktemp -d)
# What is there from an earlier start is left as it is.
add() { qconf "$@" >/dev/null 2>&1 || true; }
runuser -u sgeadmin -- env SGE_ROOT=$root SGE_CELL=default qconf -am root >/dev/null 2>&1 || true
add -as localhost
cat >"$new/host" <<CONF
hostname localhost
load_scaling NONE
complex_values NONE
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
CONF
add -Ae "$new/host"
printf 'group_name @allhosts\nhostlist localhost\n' >"$new/group"
add -Ahgrp "$new/group"
cat >"$new/pe" <<'CONF'
pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args /bin/true
stop_proc_args /bin/true
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
CONF
add -Ap "$new/pe"
{
  printf 'qname all.q\nhostlist @allhosts\nseq_no 0\nload_thresholds NONE\nsuspend_thresholds NONE\nnsuspend 1\n'
  printf 'suspend_interval 00:05:00\npriority 0\nmin_cpu_interval 00:05:00\nprocessors UNDEFINED\nqtype BATCH\n'
  printf 'ckpt_list NONE\npe_list smp\nrerun FALSE\nslots 8\ntmpdir /tmp\nshell /bin/sh\nshell_start_mode unix_behavior\n'
  for name in prolog epilog starter_method suspend_method resume_method terminate_method owner_list user_lists \
    xuser_lists subordinate_list complex_values projects xprojects calendar; do echo "$name NONE"; done
  printf 'notify 00:00:60\ninitial_state default\n'
  for limit in rt cpu fsize data stack core rss vmem; do printf 's_%s INFINITY\nh_%s INFINITY\n' $limit $limit; done
} >"$new/queue"
add -Aq "$new/queue"
qconf -sconf global | sed '/^#/d; s/^min_\([ug]id\).*/min_\1 0/' >"$new/global"
qconf -Mconf "$new/global" >/dev/null
qconf -ssconf | sed 's/^schedule_interval.*/schedule_interval 0:0:1/; s/^flush_\(submit\|finish\)_sec.*/flush_\1_sec 1/' >"$new/schedule"
qconf -Msconf "$new/schedule" >/dev/null
/usr/sbin/sge_execd >/dev/null 2>&1
rm -r "$new"
for _ in $(seq 30); do qstat -f | grep -q 'lx-amd64 *$' && break; sleep 1; done
pgrep -x sge_execd
pgrep -x sge_qmaster
