"""usage: memory.py MODULE.so LAYER_BYTES EMBEDDING_BYTES LAYERS RANKS MPIRUN...

A rank has its part of the layers in memory, and at most the embedding and the module's code besides. Ranks share out
rows, or LAYERS layers if that is not 0."""
import os
import re
import subprocess
import sys
import tempfile
import time

CODE = 4 << 20  # and what the kernel maps around it

module, layer_bytes, embedding_bytes, n_layers, n = sys.argv[1], *map(int, sys.argv[2:6])
folder = tempfile.mkdtemp()
script = f'echo $$ > {folder}/${{OMPI_COMM_WORLD_RANK:-$PMI_RANK}}; exec rsr-mpi {module} -t 1 ' \
         f'{"--pipeline" if n_layers else "--force"} --delay 20000 ' \
         '-p abc -n 200 --temp 0'
run = subprocess.Popen([*sys.argv[6:], "-n", str(n), "sh", "-c", script], stdout=subprocess.PIPE)
run.stdout.read(1)  # the first token: all layers have been read
time.sleep(0.5)
failed = False
for rank in range(n):
    with open(f"{folder}/{rank}") as file:
        pid = int(file.read())
    resident, inside = 0, False
    with open(f"/proc/{pid}/smaps") as smaps:
        for line in smaps:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                inside = os.path.basename(module) in line
            elif inside and line.startswith("Rss:"):
                resident += int(line.split()[1]) << 10
    part = layer_bytes * (n_layers // n + (rank < n_layers % n)) // n_layers if n_layers else layer_bytes // n
    most = part + embedding_bytes + CODE
    failed |= not part // 2 < resident <= most
    print(f"rank {rank} of {n}: {resident / 1e6:.1f} MB of the module, at most {most / 1e6:.1f}")
run.terminate()
run.wait()
sys.exit(failed)
