package worktree

import "sync"

// crew runs tasks, the newest first: a walk then goes deep before it goes
// wide, and few directories are open at once. A task may add tasks but never
// waits for one, so a crew of any size comes to its end.
type crew struct {
	mu    sync.Mutex
	wake  sync.Cond
	tasks []func()
	busy  int
}

func (c *crew) add(tasks ...func()) {
	c.mu.Lock()
	c.tasks = append(c.tasks, tasks...)
	c.mu.Unlock()
	if len(tasks) > 1 {
		c.wake.Broadcast()
	} else {
		c.wake.Signal()
	}
}

// run starts with the given task and returns when no task is left.
func (c *crew) run(threads int, first func()) {
	c.wake.L = &c.mu
	c.tasks = append(c.tasks, first)
	var workers sync.WaitGroup
	for range threads {
		workers.Go(c.work)
	}
	workers.Wait()
}

func (c *crew) work() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.tasks) == 0 {
			if c.busy == 0 {
				c.wake.Broadcast()
				return
			}
			c.wake.Wait()
		}
		last := len(c.tasks) - 1
		task := c.tasks[last]
		c.tasks[last] = nil
		c.tasks = c.tasks[:last]
		c.busy++
		c.mu.Unlock()
		task()
		c.mu.Lock()
		c.busy--
	}
}
