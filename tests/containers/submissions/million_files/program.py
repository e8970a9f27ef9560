"""Make empty files until there are no inodes left."""

for number in range(2000):
    open(f"/output/{number}", "w").close()
open("/output/result.txt", "w").write("escaped")
